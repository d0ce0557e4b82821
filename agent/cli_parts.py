"""The parts of a search by hand: ``train``, ``evaluate``, ``sample``, ``export``; and ``audit`` of the paper."""

from pathlib import Path
from typing import Annotated

import typer

from agent.options import (
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
    Step,
    TrainSteps,
    TrialId,
    memory_path,
    option,
    resolved,
    show,
)

NOT_SETTINGS = {"spec", "config", "setting", "dry_run", "as_json"}  # options of `train` that are no setting


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    for command in (train, evaluate, sample, export, audit):
        app.command()(command)


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
    from agent.by_hand import train_by_hand
    from diffusion.spec import UNetSpec

    parsed = UNetSpec.parse(spec)
    if dry_run:
        from agent.dry_run import estimate, print_estimate

        show(estimate(settings, parsed, measured=True), as_json, print_estimate)
        return
    raise typer.Exit(train_by_hand(settings.config, parsed, as_json=as_json))


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
    from agent.afterwards import evaluate_by_hand, print_score

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


def sample(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A trial's number, or an exported folder.")],
    num_images: Annotated[int, typer.Option(min=1, metavar="N", help="How many images.")] = 64,
    sampler: Sampler = None,
    sampling_steps: SamplingSteps = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the images.")] = 0,
    step: Step = None,
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the images go (default OUT/samples/…).")] = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Draw images: one PNG each, and a grid of the first hundred."""
    from agent.drawing import draw, print_drawn

    found = draw(
        memory_path(db), source, num_images, sampler=sampler, steps=sampling_steps, seed=seed, step=step, to=to
    )
    show(found, as_json, print_drawn)


def export(
    trial: TrialId,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write.")],
    step: Step = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a folder that was exported before.")] = False,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Write a diffusers pipeline folder that `DDPMPipeline.from_pretrained` loads."""
    from agent.exporting import export_trial, print_exported

    show(export_trial(memory_path(db), trial, folder, step=step, replace=replace), as_json, print_exported)


def audit(
    ddpm_searched: Annotated[str | None, option("SPEC", "The searched DDPM model, if you know its numbers.")] = None,
    iddpm_searched: Annotated[str | None, option("SPEC", "The searched IDDPM model, if you know its numbers.")] = None,
    as_json: Json = False,
) -> None:
    """The DiffNAS paper's four models under both counting conventions, beside the paper's figures."""
    from agent.audit import audit as audit_of
    from agent.audit import print_audit
    from diffusion.spec import UNetSpec

    ddpm, iddpm = (text and UNetSpec.parse(text) for text in (ddpm_searched, iddpm_searched))
    show(audit_of(ddpm or None, iddpm or None), as_json, print_audit)
