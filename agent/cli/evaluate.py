"""``diffnas-agent evaluate``: score a trained trial."""

from typing import Annotated, Any

from agent.cli.options import Db, Json, Step, TrialId, changing, memory_path, number_option, show
from diffusion.frozen import LARGEST_SEED


@changing("score")
def evaluate(
    changes: dict[str, Any],
    trial: TrialId,
    sampling_seed: Annotated[
        int | None, number_option("N", "Seed of the images; default: the search's seed.", least=0, most=LARGEST_SEED)
    ] = None,
    step: Step = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Score a trained trial: as its search does, or under another protocol."""
    from agent.trials.evaluate import evaluate_by_hand, print_score

    show(evaluate_by_hand(memory_path(db), trial, changes, sampling_seed, step), as_json, print_score)
