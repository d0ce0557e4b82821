"""``diffnas-agent flops``: exact costs of a spec."""

from typing import Annotated

import typer

from agent.cli.options import Json, Spec, number_option, show


def flops(
    spec: Spec,
    family: Annotated[str, typer.Option(metavar="ddpm|iddpm", help="Which network the spec becomes.")] = "ddpm",
    resolution: Annotated[int, number_option("N", "Side of the images.", least=0)] = 32,
    channels: Annotated[int, number_option("N", "Channels of the images.", least=0)] = 3,
    verify: Annotated[bool, typer.Option("--verify", help="Count the real network with fvcore beside it.")] = False,
    as_json: Json = False,
) -> None:
    """Exact costs of a spec, by the closed form."""
    from agent.report.costs import print_costs, spec_costs

    show(spec_costs(spec, family, resolution, channels, verify=verify), as_json, print_costs)
