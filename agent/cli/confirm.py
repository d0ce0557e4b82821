"""``diffnas-agent confirm``: train the best of a search in full, with several seeds, and say what may be said."""

from typing import Annotated, Any

import typer

from agent.cli.complete import searches, strategies, trials
from agent.cli.options import Db, DryRun, Json, changing, memory_path, number_option, option
from agent.config.settings import HOW_JOBS_RUN
from diffusion.units import LARGEST


@changing(
    "name", "num_images", "sampling_steps", *HOW_JOBS_RUN, "out",
    name="name of the search that this becomes", out="checkpoints and images (default: the search's)",
)  # fmt: skip
def confirm(
    changes: dict[str, Any],
    trials: Annotated[
        list[int] | None,
        typer.Argument(
            min=1, max=LARGEST, metavar="TRIAL...", help="Trials; default: the best.", autocompletion=trials
        ),
    ] = None,
    search: Annotated[str | None, option("NAME", "The search they are of; default: the latest.", searches)] = None,
    top: Annotated[int, number_option("K", "How many of the best, without the baseline.")] = 1,
    seeds: Annotated[int, number_option("N", "Training seeds of each; verdicts take three.")] = 3,
    strategy: Annotated[
        str | None,
        option(
            "STRATEGY", "A preset's name, or FIELD=VALUE,…; default: DATA-standard, twice as long.", offered=strategies
        ),
    ] = None,
    db: Db = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train the best in full with several seeds, beside the baseline, and recommend one."""
    from agent.trials.confirm import Picking, confirm_trials

    wanted = Picking(search, tuple(trials or ()), top, seeds, strategy)
    raise typer.Exit(confirm_trials(memory_path(db), wanted, changes, dry_run=dry_run, as_json=as_json))
