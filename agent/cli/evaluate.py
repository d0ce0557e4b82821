"""``diffnas-agent evaluate``: score a trained trial."""

from typing import Annotated, Any

import typer

from agent.cli.options import Db, Json, Step, TrialId, changing, memory_path, show


@changing("score")
def evaluate(
    changes: dict[str, Any],
    trial: TrialId,
    sampling_seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Seed of the images; default: the search's seed.")
    ] = None,
    step: Step = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Score a trained trial: as its search does, or under another protocol."""
    from agent.trials.evaluate import evaluate_by_hand, print_score

    show(evaluate_by_hand(memory_path(db), trial, changes, sampling_seed, step), as_json, print_score)
