"""What ``diffnas-agent rank-study`` does: begin a study or go on with it, and report; or only report, or only plan."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from agent.config.settings import HOW_JOBS_RUN, RunConfig
from agent.config.sources import Resolved
from agent.config.strategies import default_strategy, parse_strategy
from agent.report.console import people
from agent.report.tables import print_settings, say, show
from agent.search.plan import written_nowhere
from agent.study.arms import Asked, Study
from agent.study.costs import PlannedStudy, planned_costs
from agent.study.plan import plan_study
from agent.study.plots import check_plots, draw_study
from agent.study.report import MeasuredStudy, measured_study
from agent.study.run import changed_score, run_study
from agent.study.store import free_name, open_study, stored_study
from agent.study.tables import print_plan, print_study
from diffusion.errors import UserError
from diffusion.under_way import under_way
from diffusion.units import shortened, whole_number
from memory.connection import check_memory, opened


@dataclass(frozen=True)
class Wanted:
    """What is asked for beside the settings, as it was typed."""

    name: str | None
    specs: int
    rapid: str | None
    standard: str | None
    truth_steps: int | None
    truth_seeds: int
    score_steps: str | None
    also_score: tuple[str, ...] = ()
    also_on: str = "rapid"
    top_k: int = 3
    plots: Path | None = None


@dataclass(frozen=True)
class Mode:
    """Which of the ways the command is used in."""

    resume: bool = False
    report: bool = False
    dry_run: bool = False
    as_json: bool = False


def begin(settings: Resolved, wanted: Wanted, mode: Mode) -> int:
    """Do what is asked for; the exit code.

    Raises:
        UserError: one sentence with the remedy.
    """
    _check_modes(wanted, mode)
    if mode.report:
        found = _measured(settings.config.places.db, wanted.name, wanted.top_k)
        show(found, mode.as_json, print_study)
        _draw(people(stderr=mode.as_json), found, wanted.plots)
    elif mode.dry_run:
        show(_dry(settings, wanted), mode.as_json, _print_dry)
    else:
        return _run(settings, wanted, mode)
    return 0


def _check_modes(wanted: Wanted, mode: Mode) -> None:
    """Refuse what does not go together.

    Raises:
        UserError: it does not.
    """
    beside = {"--resume": mode.resume, "--also-score": wanted.also_score, "--dry-run": mode.dry_run}
    if mode.report and (other := next((option for option, given in beside.items() if given), "")):
        raise UserError(f"--report only reads; leave {other} out, or --report")
    if mode.resume and mode.dry_run:
        raise UserError("--dry-run shows a new study; leave --resume out, or look at the study with --report")


def _run(settings: Resolved, wanted: Wanted, mode: Mode) -> int:
    """Open the study or find it, do what is left, report; the exit code."""
    config = settings.config
    check_memory(config.places.db)
    if wanted.plots:
        check_plots(wanted.plots)
    study = _stored(settings, wanted) if mode.resume else plan_study(config, asked_study(config, wanted))
    arm = study.arm(wanted.also_on)
    also = [changed_score(arm, text) for text in wanted.also_score]
    if not mode.resume:
        with opened(config.places.db) as db:
            study = open_study(db, study)
    if code := run_study(study, as_json=mode.as_json, also=also, also_on=wanted.also_on):
        return code
    found, console = (
        _measured(config.places.db, study.name, wanted.top_k),
        people(stderr=mode.as_json),
    )
    print_study(console, found)
    _draw(console, found, wanted.plots)
    return 0


def _stored(settings: Resolved, wanted: Wanted) -> Study:
    """The study that memory holds; its jobs run as they were begun, unless an option says otherwise."""
    flat = settings.config.flat()
    typed = {name: flat[name] for name in HOW_JOBS_RUN if settings.sources[name] == "option"}
    with opened(settings.config.places.db, read_only=True) as db:
        return stored_study(db, wanted.name, typed | {"db": settings.config.places.db})


def asked_study(config: RunConfig, wanted: Wanted) -> Asked:
    """The study that the options ask for.

    Raises:
        UserError: one sentence with the remedy.
    """
    rapid, standard = (
        parse_strategy(text or default_strategy(config.data.dataset, name), config.strategy, f"--{name}")
        for name, text in (("rapid", wanted.rapid), ("standard", wanted.standard))
    )
    return Asked(
        name=wanted.name or _free_name(config.places.db),
        specs=wanted.specs,
        rapid=rapid,
        standard=standard,
        truth_steps=wanted.truth_steps,
        truth_seeds=wanted.truth_seeds,
        score_steps=_steps(wanted.score_steps),
    )


def _steps(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if wrong := [part for part in parts if whole_number(part) is None] or (not parts and [text]):
        raise UserError(f"--score-steps '{shortened(wrong[0])}' is not a step; write --score-steps 50,100,200")
    return tuple(map(int, parts))


def _free_name(db: Path) -> str:
    if not db.exists():
        return "study-1"
    with opened(db, read_only=True) as memory:
        return free_name(memory)


def _measured(db: Path, name: str | None, top_k: int) -> MeasuredStudy:
    with opened(db, read_only=True) as memory, under_way("resampling the study"):
        return measured_study(memory, stored_study(memory, name), top_k)


def _draw(console: Console, found: MeasuredStudy, plots: Path | None) -> None:
    for path in draw_study(found, plots) if plots is not None else ():
        say(console, f"Drawn: {path}", whole=True)


def _dry(settings: Resolved, wanted: Wanted) -> PlannedStudy:
    """What the study would train; the data are checked in a folder thrown away."""
    config = settings.config
    with written_nowhere(config) as aside:
        study = plan_study(aside, asked_study(config, wanted))
    return planned_costs(study, settings.shown(), config.places.out)


def _print_dry(console: Console, found: PlannedStudy) -> None:
    print_settings(console, found.settings)
    print_plan(console, found)
