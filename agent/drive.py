"""Drives one search from the command line: wires memory, executor, backend and reports, and ends tidily on Ctrl-C.

Exit codes as in CONTRACT.md: 0 done, 2 the backend refuses every call, 3 stopped by a limit, 130 interrupted.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import FrameType
from typing import Any, Literal

from rich.console import Console

from agent.allowance import allowance_of
from agent.backends import Address
from agent.chat_beside import approver_of, listening
from agent.config import RunConfig
from agent.console_lines import Inbox, TypedLine, restore_terminal
from agent.loop import LIMITS, Loop
from agent.middleware import BackendError
from agent.pricing import OFFLINE
from agent.proposer import make_proposer
from agent.reporters import JsonLines, Lines, Report, both
from agent.search import Plan, jobs_of
from agent.steering import lift_pauses
from agent.tables import how_scored, ledger_line, print_card, print_trials, say, score
from diffusion.errors import UserError
from diffusion.pruning import DEFAULT
from diffusion.settings import Precision
from diffusion.units import format_size
from memory.connection import opened
from memory.leases import release_lease, renew_lease, take_lease
from memory.ledger import totals
from memory.queries.progress import proposer_shares, search_counts
from memory.queries.records import best, show_trial
from memory.searches import change_search, find_search, set_state
from tools.allowance import WithinAllowance
from tools.context import Approve, Executor, SearchContext
from tools.executor import LocalExecutor
from tools.machine import Share, this_machine

HEARTBEAT_SECONDS = 20.0
INTERRUPTED, BY_LIMIT = 130, 3
ENDED_EARLY = {
    "finished_by_model": "the model ended it",
    "stopped_by_user": "the user ended it",
    "space_exhausted": "every spec that the limits leave was tried",
}


@dataclass(frozen=True)
class Seat:
    """What the one process that drives a search holds."""

    lease: str
    name: str
    console: Console
    report: Report
    make_context: Callable[[int, str], SearchContext]  # (round, proposer) → context
    go_on: str  # the command that resumes
    jobs: Share


@contextmanager
def driving(search: int, planned: Plan, *, as_json: bool, backend: str, takes_lines: bool = False) -> Iterator[Seat]:
    """Hold the lease of a search, keep it fresh, and stop tidily on Ctrl-C; on a terminal with `takes_lines` talk, too.

    Raises:
        UserError: another process drives it.
    """
    config = planned.config
    with opened(config.db) as db:
        lease = take_lease(db, search)
        set_state(db, search, "running")
        change_search(db, search, rounds=config.rounds, backend=backend)
        name = find_search(db, str(search)).name
    console = Console(stderr=as_json, highlight=False)
    stop = Event()
    go_on = f"diffnas-agent resume {name}{_db_option(config.db)}"
    try:
        with executor_of(config, stop) as (executor, jobs):
            typed = TypedLine(Lines(console, several=jobs.parallel > 1))
            inbox = Inbox(typed.say, stop)
            report: Report = both(JsonLines(search), typed) if as_json else typed
            make_context = context_maker(
                search, planned, executor, stop, report, jobs, approve=approver_of(config, inbox)
            )
            with (
                interruptible(stop, executor, console, go_on),
                heartbeat(config.db, search, lease),
                listening(config, make_context(0, "chat"), typed, inbox, takes_lines),
            ):
                yield Seat(lease, name, console, report, make_context, go_on, jobs)
    finally:
        with opened(config.db) as db:
            release_lease(db, search, lease)


def drive(search: int, planned: Plan, *, as_json: bool) -> int:
    """Play the rounds, print the summary; the exit code."""
    config = planned.config
    with driving(search, planned, as_json=as_json, backend=config.llm, takes_lines=True) as seat:
        console, report, go_on = seat.console, seat.report, seat.go_on
        announce(console, seat.name, planned, seat.jobs)
        with opened(config.db) as db:
            for pause in lift_pauses(db, search):
                say(console, f"Lifted: {pause.name}.")
        report("search.started", name=seat.name, settings=config.model_dump(mode="json"), proposer=config.llm)
        loop = make_loop(search, seat.lease, planned, seat.make_context, report, seat.jobs)
        try:
            reason = loop.run()
        except BackendError as error:
            raise refused(search, config, loop.proposer_name, error, go_on) from error
    summary(console, config.db, search)
    if reason in ("interrupted", *LIMITS):
        why = {
            "failures": "stopped: too many trials failed in a row",
            "backend": "stopped: the backend does not answer",
            "allowance": f"stopped by the allowance: {why_spent(seat)}",
        }
        say(console, f"{why.get(reason, 'interrupted')}; go on with: {go_on}", whole=True)
        return BY_LIMIT if reason in LIMITS else INTERRUPTED
    return 0


def why_spent(seat: Seat) -> str:
    """Which limit of the allowance was met."""
    allowance = seat.make_context(0, "").allowance
    return (allowance and allowance.why) or "a limit was met"


def refused(search: int, config: RunConfig, llm: str, error: BackendError, go_on: str) -> UserError:
    """What to tell the user of a backend that refuses every call; the search is interrupted by it."""
    with opened(config.db) as db:
        set_state(db, search, "interrupted", str(error))
    return UserError(f"'{llm}' refuses every call ({error}); check the key and the model's name, then `{go_on}`")


@contextmanager
def executor_of(config: RunConfig, stop: Event) -> Iterator[tuple[Executor, Share]]:
    """Who runs the jobs, and what each job gets.

    Raises:
        UserError: a job finds no room, or no cluster answers.
    """
    if config.executor == "local":
        yield LocalExecutor(stop), jobs_of(config, this_machine())
        return
    from tools.executor_ray import RayExecutor, ray_cluster

    with ray_cluster(config.ray_address) as machine:
        jobs = jobs_of(config, machine)
        yield RayExecutor(stop, machine, jobs), jobs


def context_maker(
    search: int,
    planned: Plan,
    executor: Executor,
    stop: Event,
    report: Report,
    jobs: Share | None = None,
    approve: Approve | None = None,
) -> Callable[[int, str], SearchContext]:
    """What makes the context of a round for a proposer; without `jobs` they share this machine."""
    config, finish_reasons = planned.config, list[str]()
    each = jobs or jobs_of(config, this_machine())
    allowance = allowance_of(search, config)
    executor = WithinAllowance(executor, allowance, stop)

    def make_context(round_number: int, proposer: str) -> SearchContext:
        return SearchContext(
            db_path=config.db.absolute(),
            search=search,
            round_number=round_number,
            proposer=proposer,
            space=config.search_space,
            budget_macs=config.budget,
            convention=config.count,
            protocol=planned.protocol,
            seed=config.seed,
            out=config.out,
            executor=executor,
            report=report,
            checkpoint_steps=config.checkpoint_steps,
            snapshot_steps=config.snapshot_steps or (),
            feature_weights=config.feature_weights,
            prune=DEFAULT if config.prune else None,
            processes=each.processes,
            threads=each.threads,
            device=each.device,
            precision=precision_of(config, each.device),
            compile=config.compile,
            log_with=config.log_with,
            allowance=allowance,
            approve=approve,
            is_alone=round_number == 0 or each.parallel == 1,
            finish_reasons=finish_reasons,
            stop=stop,
        )

    return make_context


def precision_of(config: RunConfig, device: Literal["cpu", "cuda"]) -> Precision:
    """What trainings compute in: unless it is asked for otherwise, bf16 autocast on a GPU."""
    if config.precision != "auto":
        return config.precision
    return "bf16" if device == "cuda" else "fp32"


def make_loop(
    search: int,
    lease: str,
    planned: Plan,
    make_context: Callable[[int, str], SearchContext],
    report: Report,
    jobs: Share | None = None,
) -> Loop:
    """The one place that wires a search: its backend, its proposer, its rounds; `jobs` as in `context_maker`."""
    config = planned.config
    return Loop(
        search=search,
        lease=lease,
        rounds=config.rounds,
        baseline=planned.baseline,
        proposer=make_proposer(config),
        make_proposer=lambda llm, base_url: make_proposer(config, Address(llm, base_url)),
        proposer_name=config.llm,
        make_context=make_context,
        report=report,
        parallel=(jobs or jobs_of(config, this_machine())).parallel,
        replicas=config.replicas,
        race_trainings=config.rounds if config.race_trainings is None else config.race_trainings,
    )


def _db_option(db: Path) -> str:
    """What a resume must be told to find this memory from the same folder."""
    return "" if db == Path("diffnas.db") or os.environ.get("DIFFNAS_DB") == str(db) else f" --db {db}"


def announce(console: Console, name: str, planned: Plan, jobs: Share) -> None:
    """Who is in charge, then what is searched under which limit."""
    config = planned.config
    if config.llm == OFFLINE:
        say(
            console,
            "No language model is in charge: the offline backend proposes local changes (choose one with --llm).",
        )
    else:
        say(console, f"{config.llm} proposes" + (f" at {config.base_url}" if config.base_url else "") + ".")
    settings = planned.protocol.settings
    print_card(console, planned.card)
    say(
        console,
        f"Search {name}: {settings.dataset} {settings.resolution}×{settings.resolution}, at most "
        f"{format_size(config.budget)} MACs ({config.count}) of {config.search_space.size:,} specs, baseline and "
        f"{config.rounds} rounds of {config.train_steps} steps.",
    )
    say(console, f"Scores: {how_scored(planned.protocol)}. Lower is better.")
    if jobs.parallel > 1 or jobs.processes > 1 or config.executor != "local":
        say(
            console,
            f"Trainings: {jobs.parallel} at once on {config.executor}, each with {jobs.processes} process(es) of "
            f"{jobs.threads} thread(s).",
        )
    for note in planned.notes:
        say(console, f"Note: {note}.")


def summary(console: Console, db_path: Path, search: int) -> None:
    """The table of trials, the best spec, what it cost, who proposed, and where the images are."""
    with opened(db_path, read_only=True) as db:
        ranking = best(db, search, limit=None)
        counts, shares, ledger = search_counts(db, search), proposer_shares(db, search), totals(db, search)
        grid = _grid(show_trial(db, ranking[0]["trial"])) if ranking else None
        reason, _, told = (find_search(db, search).reason or "").partition(": ")
    console.line()
    if ranking:
        print_trials(console, ranking)
        say(console, f"{ranking[0]['metric']}, lower is better; protocol {ranking[0]['protocol']}")
        _print_best(console, ranking)
    else:
        say(console, "No trial has a score yet.")
    if reason in ENDED_EARLY:
        say(console, f"Ended early: {ENDED_EARLY[reason]}{': ' + told if told else ''}.")
    proposed = ", ".join(f"{proposer} {count}" for proposer, count in shares.items())
    say(
        console,
        f"Trials: {counts['scored']} scored, {counts['failed']} failed, {counts['pruned']} stopped early; "
        f"{counts['refused']} proposals refused.",
    )
    say(console, f"Proposed by: {proposed or 'nobody yet'}.")
    say(console, f"Used: {ledger_line(ledger.model_dump())}.")
    if grid:
        say(console, f"Images of the best: {grid}", whole=True)


def _print_best(console: Console, ranking: list[dict[str, Any]]) -> None:
    first = ranking[0]
    baseline = next((row for row in ranking if row["round"] == 0), None)
    text = f"Best: {first['spec']} with {first['metric']} {score(first['rfid'])}"
    if baseline and baseline is not first:
        text += f", the baseline has {score(baseline['rfid'])}"
    elif baseline:
        text += ", the baseline: nothing that was tried beat it"
    verdict = first["verdict"]["baseline"]
    noise = {
        "unmeasured": "One training each: differences may be noise (verdicts: unmeasured)",
        "inconclusive": "By its first score no clear difference from the baseline",
    }.get(verdict, f"By its first score {verdict} than the baseline beyond noise")
    say(console, f"\n{text}. {noise}.")


def _grid(shown: dict[str, Any]) -> str | None:
    """The image grid of a trial's newest score."""
    grids = [row["extra"]["grid"] for row in shown["scores"] if row.get("extra", {}).get("grid")]
    if not grids:
        return None
    path = Path(grids[-1])
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@contextmanager
def interruptible(stop: Event, executor: Executor, console: Console, go_on: str) -> Iterator[None]:
    """Ctrl-C once: save and stop. Twice: at once; still nothing finished is lost."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            executor.kill()
            restore_terminal()
            print(f"\ninterrupted; go on with: {go_on}", file=sys.stderr, flush=True)
            os._exit(INTERRUPTED)
        stop.set()
        say(console, "\nStopping after the current step; press Ctrl-C again to stop at once.")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def heartbeat(db_path: Path, search: int, lease: str) -> Iterator[None]:
    """Keep the lease fresh while a round waits for a training or a model."""
    done = Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            with opened(db_path) as db:
                renew_lease(db, search, lease)

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
