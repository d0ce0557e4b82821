"""``diffnas-agent train``: train one spec, as a search of its own."""

from typing import Annotated

import typer

from agent.cli.options import (
    BatchSize,
    Config,
    DataDir,
    Dataset,
    Db,
    DryRun,
    ExecutorName,
    Family,
    FeatureNetwork,
    FeatureWeights,
    Json,
    LogWith,
    Nproc,
    NumImages,
    Out,
    Preset,
    ReferenceSplit,
    Resolution,
    Sampler,
    SamplingSteps,
    SearchName,
    Seed,
    Setting,
    SnapshotSteps,
    TrainSteps,
    resolved,
    show,
)

NOT_SETTINGS = {"spec", "config", "setting", "dry_run", "as_json"}  # options of `train` that are no setting


def train(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="b128-n2-m1.2.2.2-a0100, or its JSON object.")],
    preset: Preset = None,
    dataset: Dataset = None,
    data_dir: DataDir = None,
    resolution: Resolution = None,
    family: Family = None,
    train_steps: TrainSteps = None,
    batch_size: BatchSize = None,
    snapshot_steps: SnapshotSteps = None,
    num_images: NumImages = None,
    sampler: Sampler = None,
    sampling_steps: SamplingSteps = None,
    feature_network: FeatureNetwork = None,
    feature_weights: FeatureWeights = None,
    reference_split: ReferenceSplit = None,
    nproc: Nproc = None,
    executor: ExecutorName = None,
    log_with: LogWith = None,
    seed: Seed = None,
    name: SearchName = None,
    setting: Setting = None,
    config: Config = None,
    db: Db = None,
    out: Out = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train one spec, as a search of its own; how it is scored later is said here, too."""
    options = dict(locals())
    settings = resolved(config, setting, {name: options[name] for name in options.keys() - NOT_SETTINGS})
    from agent.trials.train import train_by_hand
    from diffusion.spec import UNetSpec

    parsed = UNetSpec.parse(spec)
    if dry_run:
        from agent.estimate.dry_run import estimate, print_estimate

        show(estimate(settings, parsed, measured=True), as_json, print_estimate)
        return
    raise typer.Exit(train_by_hand(settings.config, parsed, as_json=as_json))
