"""``diffnas-agent strategy``: find a rapid training strategy under a cost limit."""

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import DryRun, Json, configured, number_option, option

if TYPE_CHECKING:
    from agent.config.sources import Resolved


@configured("preset", "data", "llm", "base_url", "parallel", "nproc", "executor", "seed", "name", "places")
def strategy(
    settings: "Resolved",
    cost: Annotated[
        str, option("COST", "The most a strategy may cost: 0.5 or 50% of the standard one, or 30s of device time.")
    ] = "0.5",
    rounds: Annotated[int, number_option("N", "Proposals; 1 is the paper's, without any measurement to go by.")] = 1,
    standard: Annotated[
        str | None,
        option("STRATEGY", "What costs are shares of: a strategy's name, or FIELD=VALUE,… (default: DATA-standard)."),
    ] = None,
    study: Annotated[
        str | None, option("STUDY", "Measure every proposal on the specs of this rank study, against its truth.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Find a rapid training strategy: cheap, and ranking candidates as the standard one does."""
    from agent.strategy.begin import Wanted, begin

    raise typer.Exit(begin(settings, Wanted(cost, rounds, standard, study), dry_run=dry_run, as_json=as_json))
