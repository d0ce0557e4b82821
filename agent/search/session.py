"""What the one process that drives a search holds: lease, heartbeat, Ctrl-C, reports."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import FrameType

from rich.console import Console

from agent.chat.beside_run import approver_of, listening
from agent.chat.line_editor import Inbox, TypedLine, restore_terminal
from agent.report.events import JsonLines, Report, both
from agent.report.progress import Lines
from agent.report.tables import say
from agent.search.plan import Plan
from agent.search.wiring import context_maker, executor_of
from memory.connection import opened
from memory.leases import release_lease, renew_lease, take_lease
from memory.searches import change_search, find_search, set_state
from tools.context import SearchContext
from tools.executors.base import Executor
from tools.executors.machine import Share

HEARTBEAT_SECONDS = 20.0
INTERRUPTED, BY_LIMIT = 130, 3  # exit codes (CONTRACT.md)


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
    with opened(config.places.db) as db:
        lease = take_lease(db, search)
        set_state(db, search, "running")
        change_search(db, search, rounds=config.search.rounds, backend=backend)
        name = find_search(db, str(search)).name
    console = Console(stderr=as_json, highlight=False)
    stop = Event()
    go_on = f"diffnas-agent resume {name}{_db_option(config.places.db)}"
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
                heartbeat(config.places.db, search, lease),
                listening(config, make_context(0, "chat"), typed, inbox, takes_lines),
            ):
                yield Seat(lease, name, console, report, make_context, go_on, jobs)
    finally:
        with opened(config.places.db) as db:
            release_lease(db, search, lease)


def _db_option(db: Path) -> str:
    """What a resume must be told to find this memory from the same folder."""
    return "" if db == Path("diffnas.db") or os.environ.get("DIFFNAS_DB") == str(db) else f" --db {db}"


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
