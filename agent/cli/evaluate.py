"""``diffnas-agent evaluate``: score a trained trial."""

from typing import Annotated

import typer

from agent.cli.options import (
    Db,
    FeatureNetwork,
    FeatureWeights,
    Json,
    NumImages,
    ReferenceSplit,
    Sampler,
    SamplingSteps,
    Step,
    TrialId,
    memory_path,
    show,
)


def evaluate(
    trial: TrialId,
    num_images: NumImages = None,
    sampler: Sampler = None,
    sampling_steps: SamplingSteps = None,
    feature_network: FeatureNetwork = None,
    feature_weights: FeatureWeights = None,
    reference_split: ReferenceSplit = None,
    sampling_seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Seed of the images; default: the search's seed.")
    ] = None,
    step: Step = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Score a trained trial: as its search does, or under another protocol."""
    from agent.trials.evaluate import evaluate_by_hand, print_score

    changes = {
        "num_images": num_images,
        "sampler": sampler,
        "sampling_steps": sampling_steps,
        "feature_network": feature_network,
        "reference_split": reference_split,
    }
    found = evaluate_by_hand(
        memory_path(db),
        trial,
        {name: value for name, value in changes.items() if value is not None},
        feature_weights=feature_weights,
        sampling_seed=sampling_seed,
        step=step,
    )
    show(found, as_json, print_score)
