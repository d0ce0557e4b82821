"""``diffnas-agent rank-study``: how well cheap training strategies rank specs, measured on one's own data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    Parallel,
    Preset,
    ReferenceSplit,
    Resolution,
    Sampler,
    SamplingSteps,
    Seed,
    Setting,
    memory_path,
    option,
    resolved,
    show,
)
from diffusion.errors import UserError

if TYPE_CHECKING:
    from agent.config.settings import RunConfig
    from agent.config.sources import Resolved
    from agent.study.arms import Asked, Study

OF_THE_STUDY = {"name", "specs", "rapid", "standard", "truth_steps", "truth_seeds", "score_steps", "also_score"}
OF_THE_STUDY |= {"also_on", "top_k", "plots", "resume", "report"}
NOT_SETTINGS = OF_THE_STUDY | {"config", "setting", "dry_run", "as_json"}
DEFAULT_SPECS = 24


def rank_study(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Name of the study.")] = None,
    specs: Annotated[int, option("N", "Specs: the baseline, and one from each stratum of MACs.")] = DEFAULT_SPECS,
    rapid: Annotated[str | None, option("STRATEGY", "The cheap strategy: a preset's name, or FIELD=VALUE,….")] = None,
    standard: Annotated[
        str | None, option("STRATEGY", "The strategy that it is compared with, and the truth's.")
    ] = None,
    truth_steps: Annotated[
        int | None, option("N", "Steps of the full trainings (default twice the standard's).")
    ] = None,
    truth_seeds: Annotated[int, option("N", "Full trainings of each spec, each with a seed of its own.")] = 2,
    score_steps: Annotated[str | None, option("N,N,…", "Steps at which proxies are scored beside their end.")] = None,
    also_score: Annotated[
        list[str] | None, option("FIELD=VALUE,…", "A cheaper way to score, e.g. num_images=360; repeatable.")
    ] = None,
    also_on: Annotated[str, option("ARM", "Whose weights that scores: rapid, standard, truth-1, ….")] = "rapid",
    top_k: Annotated[int, typer.Option(min=1, metavar="K", help="For recall and regret of the best K.")] = 3,
    plots: Annotated[Path | None, option("DIR", "Draw the curves and the ranks there (needs matplotlib).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a study as it was begun.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Say what is known so far; train nothing.")] = False,
    budget: Annotated[str | None, option("MACS", "Hard limit on the MACs of a spec, e.g. 6.06G.")] = None,
    count: Annotated[str | None, option("paper|total", "Counting convention of the budget.")] = None,
    preset: Preset = None,
    dataset: Dataset = None,
    data_dir: DataDir = None,
    resolution: Resolution = None,
    family: Family = None,
    space: Annotated[str | None, option("NAME", "Search space: images-32 or digits-8.")] = None,
    baseline: Annotated[str | None, option("SPEC", "The spec that is always in it.")] = None,
    batch_size: BatchSize = None,
    num_images: NumImages = None,
    sampler: Sampler = None,
    sampling_steps: SamplingSteps = None,
    feature_network: FeatureNetwork = None,
    feature_weights: FeatureWeights = None,
    reference_split: ReferenceSplit = None,
    parallel: Parallel = None,
    nproc: Nproc = None,
    executor: ExecutorName = None,
    log_with: LogWith = None,
    seed: Seed = None,
    setting: Setting = None,
    config: Config = None,
    db: Db = None,
    out: Out = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Measure how well a rapid and a standard strategy rank specs, against full trainings."""
    options = dict(locals())
    _check_modes(options)
    if report:
        _show_report(memory_path(db), name, top_k, plots, as_json)
        return
    settings = resolved(config, setting, {key: options[key] for key in options.keys() - NOT_SETTINGS})
    if dry_run:
        show(_dry(settings, options), as_json, _print_dry)
        return
    raise typer.Exit(_run(settings.config, options))


def _check_modes(options: dict[str, Any]) -> None:
    """Refuse what does not go together.

    Raises:
        UserError: it does not.
    """
    if options["report"] and (
        other := next((name for name in ("resume", "also_score", "dry_run") if options[name]), "")
    ):
        raise UserError(f"--report only reads; leave --{other.replace('_', '-')} out, or --report")
    if options["resume"] and options["dry_run"]:
        raise UserError("--dry-run shows a new study; leave --resume out, or look at the study with --report")


def _run(config: "RunConfig", options: dict[str, Any]) -> int:
    """Open the study or find it, do what is left, report; the exit code."""
    from rich.console import Console

    from agent.study.plots import check_plots
    from agent.study.run import changed_score, run_study
    from agent.study.store import open_study
    from memory.connection import check_memory, opened

    check_memory(config.places.db)
    if options["plots"]:
        check_plots(options["plots"])
    study = _study(config, options)
    arm = study.arm(options["also_on"])
    also = [changed_score(arm, text) for text in options["also_score"] or ()]
    if not options["resume"]:
        with opened(config.places.db) as db:
            study = open_study(db, study)
    as_json = options["as_json"]
    if code := run_study(study, as_json=as_json, also=also, also_on=options["also_on"]):
        return code
    found = _measured(config.places.db, study.name, options["top_k"])
    _tell(Console(stderr=as_json, highlight=False), found, options["plots"])
    return 0


def _study(config: "RunConfig", options: dict[str, Any]) -> "Study":
    """The study that memory holds, or the one that is asked for."""
    from agent.study.arms import HOW_JOBS_RUN
    from agent.study.plan import plan_study
    from agent.study.store import stored_study
    from memory.connection import opened

    if not options["resume"]:
        return plan_study(config, asked_study(config, options))
    overrides = {name: options[name] for name in HOW_JOBS_RUN} | {"db": config.places.db}
    with opened(config.places.db, read_only=True) as db:
        return stored_study(db, options["name"], overrides)


def asked_study(config: "RunConfig", options: dict[str, Any]) -> "Asked":
    """The study that the options ask for.

    Raises:
        UserError: one sentence with the remedy.
    """
    from agent.config.strategies import default_strategy, parse_strategy
    from agent.study.arms import Asked

    base = config.strategy
    rapid, standard = (
        parse_strategy(options[name] or default_strategy(config.data.dataset, name), base, f"--{name}")
        for name in ("rapid", "standard")
    )
    return Asked(
        name=options["name"] or _free_name(config.places.db),
        specs=options["specs"],
        rapid=rapid,
        standard=standard,
        truth_steps=options["truth_steps"],
        truth_seeds=options["truth_seeds"],
        score_steps=_steps(options["score_steps"]),
    )


def _steps(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if wrong := [part for part in parts if not (part.isascii() and part.isdigit())] or (not parts and [text]):
        raise UserError(f"--score-steps '{wrong[0]}' is not a step; write --score-steps 50,100,200")
    return tuple(map(int, parts))


def _free_name(db: Path) -> str:
    from agent.study.store import free_name
    from memory.connection import opened

    if not db.exists():
        return "study-1"
    with opened(db, read_only=True) as memory:
        return free_name(memory)


def _measured(db: Path, name: str | None, top_k: int) -> dict[str, Any]:
    from agent.study.report import measured_study
    from agent.study.store import stored_study
    from memory.connection import opened

    with opened(db, read_only=True) as memory:
        return measured_study(memory, stored_study(memory, name), top_k)


def _show_report(db: Path, name: str | None, top_k: int, plots: Path | None, as_json: bool) -> None:
    from rich.console import Console

    from agent.study.tables import print_study

    found = _measured(db, name, top_k)
    show(found, as_json, print_study)
    _draw(Console(stderr=as_json, highlight=False), found, plots)


def _tell(console: Any, found: dict[str, Any], plots: Path | None) -> None:
    from agent.study.tables import print_study

    print_study(console, found)
    _draw(console, found, plots)


def _draw(console: Any, found: dict[str, Any], plots: Path | None) -> None:
    if plots is None:
        return
    from agent.report.tables import say
    from agent.study.plots import draw_study

    for path in draw_study(found, plots):
        say(console, f"Drawn: {path}", whole=True)


def _dry(settings: "Resolved", options: dict[str, Any]) -> dict[str, Any]:
    """What the study would train; the data are checked in a folder thrown away."""
    import tempfile

    from agent.study.plan import plan_study
    from agent.study.report import planned_costs
    from memory.connection import check_memory

    config = settings.config
    check_memory(config.places.db)
    with tempfile.TemporaryDirectory() as folder:
        study = plan_study(config.changed(out=Path(folder)), asked_study(config, options))
    return {"settings": settings.shown(), **planned_costs(study)}


def _print_dry(console: Any, found: dict[str, Any]) -> None:
    from agent.report.tables import print_settings
    from agent.study.tables import print_plan

    print_settings(console, found["settings"])
    print_plan(console, found)
