"""The command line ``diffnas-agent``. Commands import what they need when they run, so that ``--help`` is quick.

A user's mistake leaves as one sentence on standard error and exit code 2; a bug of ours as a traceback and exit code 1.
"""

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from agent import cli_chat, cli_confirm, cli_doctor, cli_memory, cli_parts, cli_replay, cli_strategy, cli_study
from agent.options import (
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
    Name,
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
    memory_path,
    option,
    resolved,
    show,
)
from diffusion.errors import UserError

if TYPE_CHECKING:
    from agent.config import Resolved, RunConfig

USER_MISTAKE, INTERRUPTED = 2, 130
NOT_SETTINGS = {
    "study",
    "config",
    "setting",
    "dry_run",
    "as_json",
}  # options of `run` that are no setting

app = typer.Typer(
    name="diffnas-agent",
    help="Search, with a tool-calling language model, for the UNet that makes the best diffusion model under a budget.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(cli_memory.app, name="memory")
cli_parts.register(app)
cli_chat.register(app)
cli_confirm.register(app)
cli_doctor.register(app)
cli_strategy.register(app)
cli_study.register(app)
cli_replay.register(app)


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Search for the UNet that makes the best diffusion model inside a compute budget."""
    if version:
        from importlib.metadata import version as installed

        print(f"diffnas-agent {installed('diffnas-agent')}")
        raise typer.Exit


@app.command()
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
        from agent.dry_run import estimate, print_estimate

        found = estimate(settings, measured=True)
        show({**found, "notes": found["notes"] + notes}, as_json, print_estimate)
        return
    raise typer.Exit(_searched(settings.config, notes, as_json=as_json))


def _searched(config: "RunConfig", notes: list[str], *, as_json: bool) -> int:
    """Open a search and drive it; the exit code."""
    from agent.drive import drive
    from agent.search import open_search, plan
    from memory.connection import check_memory, opened

    check_memory(config.db)  # said before any work
    planned = plan(config)
    planned = replace(planned, notes=(*planned.notes, *notes))
    with opened(config.db) as memory:
        search = open_search(memory, planned)
    return drive(search, planned, as_json=as_json)


def _as_studied(settings: "Resolved", study: str | None) -> "tuple[Resolved, list[str]]":
    """The settings as a rank study found them to rank well, with what it chose; as they are without one."""
    if study is None:
        return settings, []
    from agent.study_choice import as_studied

    return as_studied(settings, study)


@app.command()
def resume(
    name: Name = None,
    llm: Annotated[str | None, typer.Option(metavar="ID", help="Go on with another backend.")] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="Go on with another server.")] = None,
    llm_fallbacks: LlmFallbacks = None,
    max_cost: MaxCost = None,
    max_hours: MaxHours = None,
    max_tokens: MaxTokens = None,
    prices: Prices = None,
    approve: Approve = None,
    rounds: Annotated[int | None, typer.Option(min=0, metavar="N", help="A new number of rounds.")] = None,
    parallel: Parallel = None,
    nproc: Nproc = None,
    executor: ExecutorName = None,
    prune: Prune = None,
    log_with: LogWith = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Go on with an interrupted search, exactly once."""
    from agent.allowance import keep_limits
    from agent.by_hand import BY_HAND, drive_training
    from agent.config import load_provider_keys
    from agent.confirm import CONFIRM, drive_confirm, specs_of
    from agent.drive import drive
    from agent.search import reopened
    from agent.strategy_plan import STRATEGY
    from agent.strategy_search import drive_strategy
    from agent.study import STUDY
    from agent.study_measure import MEASURED
    from agent.study_run import resume_arm
    from memory.connection import opened
    from memory.searches import find_protocol, find_search

    load_provider_keys()
    path = memory_path(db)
    with opened(path, read_only=True) as memory:
        found = find_search(memory, name)
        protocol = find_protocol(memory, found.protocol)
    overrides: dict[str, object] = {"llm": llm, "base_url": base_url, "llm_fallbacks": llm_fallbacks}
    overrides |= {"rounds": rounds, "db": path, "prices": prices and prices.absolute()}
    overrides |= {"max_cost": max_cost, "max_hours": max_hours, "max_tokens": max_tokens}
    overrides |= {"approve": approve, "parallel": parallel, "nproc": nproc, "executor": executor}
    overrides |= {"prune": prune, "log_with": log_with}
    if found.searcher == MEASURED:
        raise UserError(f"'{found.name}' measures a strategy; resume the search for strategies that proposed it")
    planned = reopened(found.config_json, protocol, overrides)
    keep_limits(planned.config, found.id, overrides)
    if found.searcher == STUDY:
        raise typer.Exit(resume_arm(found.id, planned, as_json=as_json))
    if found.searcher == STRATEGY:
        raise typer.Exit(drive_strategy(found.id, planned, as_json=as_json))
    if found.searcher == CONFIRM:
        raise typer.Exit(drive_confirm(found.id, planned, specs_of(found), as_json=as_json))
    go_on = drive_training if found.searcher == BY_HAND else drive
    raise typer.Exit(go_on(found.id, planned, as_json=as_json))


@app.command()
def status(name: Name = None, db: Db = None, as_json: Json = False) -> None:
    """What runs, how far it is, what it cost."""
    from agent.views import print_status, search_status
    from memory.connection import opened

    with opened(memory_path(db), read_only=True) as memory:
        found = search_status(memory, name)
    show(found, as_json, print_status)


@app.command("list")
def list_command(db: Db = None, as_json: Json = False) -> None:
    """All searches, the latest first."""
    from agent.views import all_searches, print_searches
    from memory.connection import opened

    with opened(memory_path(db), read_only=True) as memory:
        found = all_searches(memory)
    show(found, as_json, print_searches)


@app.command()
def flops(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="b128-n2-m1.2.2.2-a0100, or its JSON object.")],
    family: Annotated[str, typer.Option(metavar="ddpm|iddpm", help="Which network the spec becomes.")] = "ddpm",
    resolution: Annotated[int, typer.Option(metavar="N", help="Side of the images.")] = 32,
    channels: Annotated[int, typer.Option(metavar="N", help="Channels of the images.")] = 3,
    verify: Annotated[bool, typer.Option("--verify", help="Count the real network with fvcore beside it.")] = False,
    as_json: Json = False,
) -> None:
    """Exact costs of a spec, by the closed form."""
    from agent.views import print_costs, spec_costs

    show(spec_costs(spec, family, resolution, channels, verify=verify), as_json, print_costs)


def main() -> NoReturn:
    """Run the command line; the one place where errors become exit codes."""
    try:
        code = app(standalone_mode=False, prog_name="diffnas-agent")
    except UserError as error:
        code = _mistake(str(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader, such as head, has what it wanted
        code = 0
    except Exception as error:
        if not hasattr(error, "format_message"):  # the parser's own errors; its classes are not public
            raise
        from agent.usage import usage_sentence

        code = _mistake(usage_sentence(error))
    sys.exit(code if isinstance(code, int) else 0)


def _mistake(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return USER_MISTAKE


if __name__ == "__main__":
    main()
