"""``diffnas-agent generate``: specs from the generator of DiffusionNAG."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.complete import specs
from agent.cli.options import Json, configured, number_option, option, path_option

if TYPE_CHECKING:
    from agent.config.sources import Resolved


@configured(
    "preset", "budget", "max_params", "space", "dataset", "resolution", "family", "seed", "db",
    dataset="whose sizes the images have", seed="of the noise", max_params="limit on the parameters of a spec, e.g. 2M",
)  # fmt: skip
def generate(
    settings: "Resolved",
    count: Annotated[int, number_option("N", "How many specs.")] = 10,
    min_macs: Annotated[str | None, option("MACS", "What a spec costs at least, e.g. 4.8G.")] = None,
    like: Annotated[str | None, option("SPEC", "A spec to stay near.", specs)] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="A search: its space, sizes and trials.")
    ] = None,
    network: Annotated[
        Path | None, path_option("FILE", "A trained score network in place of the exact score; trained if not there.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Generate specs within a budget, guided by what the memory knows."""
    from agent.generation.asked import Wanted
    from agent.generation.specs import generate as begin
    from diffusion.spec import UNetSpec
    from diffusion.units import parse_size

    wanted = Wanted(
        count=count,
        min_macs=parse_size(min_macs) if min_macs else 0,
        like=UNetSpec.parse(like) if like else None,
        source=source,
        network=network,
    )
    raise typer.Exit(begin(settings, wanted, as_json=as_json))
