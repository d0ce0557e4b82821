"""``diffnas-agent run``: a search."""

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import DryRun, Json, configured, option

if TYPE_CHECKING:
    from agent.config.sources import Resolved


@configured("search", "backend", "data", "strategy", "score", "jobs", "places")
def run(
    settings: "Resolved",
    study: Annotated[str | None, option("STUDY", "Train and score as this rank study found to rank well.")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Search for the best UNet under a budget."""
    from agent.study.choice import as_studied

    chosen = as_studied(settings, study)
    if dry_run:
        from agent.estimate.dry_run import show_estimate

        show_estimate(chosen, as_json=as_json)
    else:
        from agent.search.begin import begin

        raise typer.Exit(begin(chosen, as_json=as_json))
