"""``diffnas-agent run``: a search."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import (
    Approve,
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
    LlmFallbacks,
    LogWith,
    MaxCost,
    MaxHours,
    MaxTokens,
    Nproc,
    NumImages,
    Out,
    Parallel,
    Preset,
    Prices,
    Prune,
    ReferenceSplit,
    Resolution,
    Sampler,
    SamplingSteps,
    SearchName,
    Seed,
    Setting,
    SnapshotSteps,
    TrainSteps,
    option,
    resolved,
    show,
)

if TYPE_CHECKING:
    from agent.config.settings import RunConfig
    from agent.config.sources import Resolved


NOT_SETTINGS = {
    "study",
    "config",
    "setting",
    "dry_run",
    "as_json",
}  # options of `run` that are no setting


def run(
    budget: Annotated[str | None, option("MACS", "Hard limit on the MACs of a spec, e.g. 6.06G.")] = None,
    count: Annotated[str | None, option("paper|total", "Counting convention of the budget.")] = None,
    preset: Preset = None,
    dataset: Dataset = None,
    data_dir: DataDir = None,
    resolution: Resolution = None,
    family: Family = None,
    space: Annotated[str | None, option("NAME", "Search space: images-32 or digits-8.")] = None,
    baseline: Annotated[str | None, option("SPEC", "The spec of round 0.")] = None,
    rounds: Annotated[int | None, option("N", "Rounds after the baseline.")] = None,
    train_steps: TrainSteps = None,
    batch_size: BatchSize = None,
    snapshot_steps: SnapshotSteps = None,
    num_images: NumImages = None,
    sampler: Sampler = None,
    sampling_steps: SamplingSteps = None,
    feature_network: FeatureNetwork = None,
    feature_weights: FeatureWeights = None,
    reference_split: ReferenceSplit = None,
    study: Annotated[str | None, option("STUDY", "Train and score as this rank study found to rank well.")] = None,
    searcher: Annotated[str | None, option("NAME", "Who proposes: llm.")] = None,
    llm: Annotated[str | None, option("ID", "Backend: openai:MODEL, anthropic:MODEL, ollama:MODEL or offline.")] = None,
    base_url: Annotated[str | None, option("URL", "An OpenAI-compatible server, e.g. http://HOST:8000/v1.")] = None,
    llm_fallbacks: LlmFallbacks = None,
    max_cost: MaxCost = None,
    max_hours: MaxHours = None,
    max_tokens: MaxTokens = None,
    prices: Prices = None,
    approve: Approve = None,
    parallel: Parallel = None,
    nproc: Nproc = None,
    executor: ExecutorName = None,
    prune: Prune = None,
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
    """Search for the best UNet under a budget."""
    options = dict(locals())
    settings = resolved(config, setting, {name: options[name] for name in options.keys() - NOT_SETTINGS})
    settings, notes = _as_studied(settings, study)
    if dry_run:
        from agent.estimate.dry_run import estimate, print_estimate

        found = estimate(settings, measured=True)
        show({**found, "notes": found["notes"] + notes}, as_json, print_estimate)
        return
    raise typer.Exit(_searched(settings.config, notes, as_json=as_json))


def _searched(config: "RunConfig", notes: list[str], *, as_json: bool) -> int:
    """Open a search and drive it; the exit code."""
    from agent.search.drive import drive
    from agent.search.plan import open_search, plan
    from memory.connection import check_memory, opened

    check_memory(config.places.db)  # said before any work
    planned = plan(config)
    planned = replace(planned, notes=(*planned.notes, *notes))
    with opened(config.places.db) as memory:
        search = open_search(memory, planned)
    return drive(search, planned, as_json=as_json)


def _as_studied(settings: "Resolved", study: str | None) -> "tuple[Resolved, list[str]]":
    """The settings as a rank study found them to rank well, with what it chose; as they are without one."""
    if study is None:
        return settings, []
    from agent.study.choice import as_studied

    return as_studied(settings, study)
