"""``diffnas-agent train``: train one spec, as a search of its own."""

from typing import TYPE_CHECKING

import typer

from agent.cli.options import DryRun, Json, Spec, configured

if TYPE_CHECKING:
    from agent.config.sources import Resolved


@configured("preset", "seed", "name", "data", "strategy", "score", "jobs", "places")
def train(
    settings: "Resolved",
    spec: Spec,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train one spec, as a search of its own; how it is scored later is said here, too."""
    if dry_run:
        from agent.estimate.dry_run import show_estimate

        show_estimate(settings, spec, as_json=as_json)
    else:
        from agent.trials.train import train_by_hand

        raise typer.Exit(train_by_hand(settings.config, spec, as_json=as_json))
