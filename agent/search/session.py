"""One drive of one search by the one process that may: lease, heartbeat, Ctrl-C, reports, clock, end and exit code.

`run`, `train`, `confirm`, `rank-study` and `strategy` play their work in a `Session`; what that work is, they alone
know. Exit codes as in CONTRACT.md: 0 done, 1 a training without weights or a lease that could not be kept, 2 the
backend refuses every call, 3 stopped by a limit, 130 interrupted.
"""

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock, Thread
from types import FrameType

from rich.console import Console
from sqlite_utils import Database

from agent.backends.errors import BackendError
from agent.chat.beside_run import approver_of, listening
from agent.chat.window.inbox import Inbox, restore_terminal
from agent.config.settings import is_own
from agent.exit_codes import BY_LIMIT, FAILURE, INTERRUPTED
from agent.report.console import People, ReaderLeft, last_words, people
from agent.report.events import JsonLines, Report, both
from agent.report.progress import Lines
from agent.report.tables import say
from agent.search.directives import end_search
from agent.search.ending import FAILED, FAILURES_IN_A_ROW, RESUMABLE, in_time
from agent.search.plan import Plan, jobs_of
from agent.search.wiring import context_maker, executor_of
from diffusion.cost.peak_memory import free_host_bytes, peak_bytes
from diffusion.errors import UserError, command
from diffusion.spec import UNetSpec
from diffusion.under_way import told_to
from memory.connection import Memory
from memory.directives import DirectiveRow
from memory.file.waiting import Held, tell_of_waiting
from memory.leases import release_lease, renew_lease, take_lease
from memory.ledger import charge
from memory.queries.records import best
from memory.searches import State, change_search, find_search, set_state
from tools.context import SearchContext
from tools.executors.base import Executor
from tools.executors.machine import Machine, Share, side_by_side

HEARTBEAT_SECONDS = 20.0


@dataclass
class Session:
    """What the one process that drives a search holds."""

    search: int
    plan: Plan
    lease: str
    make_context: Callable[[int, str], SearchContext]  # (round, proposer) → context
    report: Report
    machine: Machine
    stop: Event
    console: People = field(default_factory=lambda: people(quiet=True))
    name: str = ""
    go_on: str = ""  # the command that resumes
    lost: Exception | None = None  # why the lease could not be kept: nothing more may be written then
    charged_until: float = 0.0  # the wall-clock that is in the ledger already, by the monotonic clock
    lock: Lock = field(default_factory=Lock)  # of the one above

    @property
    def db(self) -> Database:
        """The memory, as this thread has it open."""
        return self.make_context(0, "").db

    @property
    def jobs(self) -> Share:
        """What each round gets."""
        return jobs_of(self.plan.config, self.machine)

    def side_by_side(self, specs: Collection[UNetSpec]) -> Share:
        """What each training of these specs gets, one for each time that it is named: none waits for another."""
        config, context = self.plan.config, self.make_context(0, "")
        fitting = None
        if config.jobs.executor == "local" and self.machine.device == "cpu":
            needed = max((peak_bytes(context.train_job(spec), context.limits.cost(spec)) for spec in specs), default=1)
            fitting = max(1, free_host_bytes() // needed)
        return side_by_side(self.machine, config.search.parallel, config.jobs.nproc, len(specs), fitting)

    def begin(self, proposer: str) -> None:
        """Say that the search begins, or goes on."""
        self.report("search.started", name=self.name, settings=self.plan.config.as_json(), proposer=proposer)

    def play(self, note: str, work: Callable[[], str]) -> str:
        """Do what is all of a search, by the clock; why it ended, which is written down."""
        with self.clock(note):
            reason = in_time(work)
        self.end(reason)
        return reason

    @contextmanager
    def clock(self, note: str) -> Iterator[None]:
        """Write the wall-clock of a block to the ledger; what several of them shared counts once."""
        started = time.monotonic()
        try:
            yield
        finally:
            with self.lock:
                now = time.monotonic()
                seconds, self.charged_until = now - max(started, self.charged_until), now
            charge(self.db, self.search, "wall", wall_seconds=seconds, note=note)

    def keep(self) -> bool:
        """Renew the lease; whether that could be done. Where it could not, all that is trained here is stopped."""
        try:
            renew_lease(self.db, self.search, self.lease)
        except Held as error:  # and so nobody else can take the search over
            say(self.console, f"{error}; the search goes on, its heartbeat waits.")
        except Exception as error:  # whatever it is, another host may take the search over soon
            self.lost = error
            say(self.console, f"Stopping: the lease of {self.name} could not be kept ({error}).")
            self.stop.set()
        return self.lost is None

    def end(self, reason: str, said: str | None = None, round_number: int = 0) -> list[DirectiveRow]:
        """Write down why the search ends, unless it is somebody else's; gives the orders to stop that are over."""
        if self.lost:
            return []
        ended: State = "interrupted" if reason in RESUMABLE else "failed" if reason == FAILED else "finished"
        return end_search(self.db, self.search, round_number, ended, f"{reason}: {said}" if said else reason)

    def leave(self, reason: str) -> int:
        """Say how to go on, where that can be; the exit code."""
        if reason not in RESUMABLE and not self.lost:
            return FAILURE if reason == FAILED else 0
        why = {
            "interrupted": "interrupted",
            "failures": f"stopped: {FAILURES_IN_A_ROW} trials failed in a row",
            "backend": "stopped: the backend does not answer",
            "allowance": f"stopped by the allowance: {self.why_spent}",
        }
        text = f"stopped: the lease could not be kept ({self.lost})" if self.lost else why[reason]
        heard = people(stderr=True) if self.console.deserted else self.console
        with suppress(ReaderLeft):  # nobody hears that either
            say(heard, f"{text}; go on with: {self.go_on}", whole=True)
        return FAILURE if self.lost else INTERRUPTED if reason == "interrupted" else BY_LIMIT

    @property
    def why_spent(self) -> str | None:
        """Which limit of the allowance was met."""
        allowance = self.make_context(0, "").services.allowance
        return allowance.why if allowance else None


@contextmanager
def driving(
    search: int,
    plan: Plan,
    *,
    as_json: bool,
    backend: str,
    again: tuple[str, ...] | None = None,
    takes_lines: bool = False,
    several: bool = False,
    stop: Event | None = None,
) -> Iterator[Session]:
    """Hold the lease of a search, keep it fresh, and stop tidily on Ctrl-C; `backend` is who proposes.

    `again` are the words of the command that goes on with it, ``resume NAME`` if None; `stop` that of a session around
    it; with `takes_lines` one can talk where it runs; of `several` jobs each line says which it is about.

    Raises:
        UserError: another process drives it, or the backend refuses every call.
    """
    config, stop, console = plan.config, stop or Event(), people(stderr=as_json)
    with (
        _stopped_unread(console, stop),
        Memory(config.places.db.absolute()) as memory,
        _leased(memory, search, config.search.rounds, backend) as lease,
        executor_of(config, stop) as (executor, machine),
    ):
        name = find_search(memory.db, search).name
        go_on = command(*(again or _resumes(name, config.search.searcher)), db=config.places.db)
        jobs, inbox = jobs_of(config, machine), Inbox(partial(say, console), stop)
        lines = Lines(console, several or jobs.parallel > 1, _best_of(memory.db, search))
        report: Report = both(JsonLines(search, gone=console.gone), lines) if as_json else lines
        contexts = context_maker(search, plan, executor, stop, report, jobs, approver_of(config, inbox), memory)
        session = Session(search, plan, lease, contexts, report, machine, stop, console, name, go_on)
        with (
            interruptible(stop, executor, console, go_on),
            _alive(session, lines),
            listening(config, contexts(0, "chat").beside(), lines, inbox, takes_lines),
            _refusals_said(session),
        ):
            yield session


def _best_of(db: Database, search: int) -> tuple[float, int, str] | None:
    """Score, trial and metric of what is best when a search goes on."""
    return next(((row["rfid"], row["trial"], row["metric"]) for row in best(db, search, limit=1)), None)


def _resumes(name: str, searcher: str) -> tuple[str, ...]:
    """The words that go on with a search; a searcher of the user's own is typed again."""
    return ("resume", name, *(("--searcher", searcher) if is_own(searcher) else ()))


@contextmanager
def _alive(session: Session, lines: Lines) -> Iterator[None]:
    """Keep the lease fresh, and show among the session's lines what the library has under way."""
    with closing(lines), told_to(lines), heartbeat(session):
        yield


@contextmanager
def _leased(memory: Memory, search: int, rounds: int, backend: str) -> Iterator[str]:
    """Hold the lease of a search, which runs with so many rounds and this backend from now on."""
    lease = take_lease(memory.db, search)
    try:
        set_state(memory.db, search, "running")
        change_search(memory.db, search, rounds=rounds, backend=backend)
        yield lease
    finally:
        release_lease(memory.db, search, lease)


@contextmanager
def _refusals_said(session: Session) -> Iterator[None]:
    """A backend that refuses every call is the user's to mend; the search is interrupted by it."""
    try:
        yield
    except BackendError as error:
        set_state(session.db, session.search, "interrupted", str(error))
        llm = find_search(session.db, session.search).backend
        raise UserError(
            f"'{llm}' refuses every call ({error}); check the key and the model's name, then `{session.go_on}`"
        ) from error


@contextmanager
def _stopped_unread(console: People, stop: Event) -> Iterator[None]:
    """Whoever read the session has gone, such as `head`: it stops as on Ctrl-C, and says so on standard error."""

    def gone() -> None:
        if not stop.is_set():
            stop.set()
            with suppress(ReaderLeft):
                say(people(stderr=True), "Stopping after the current step: nobody reads standard output any more.")

    console.gone = gone
    try:
        yield
    finally:
        console.gone = lambda: None  # what is said afterwards is no work that could be stopped


@contextmanager
def interruptible(stop: Event, executor: Executor, console: Console, go_on: str) -> Iterator[None]:
    """Ctrl-C once: save and stop. Twice: at once; still nothing finished is lost."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            executor.kill()
            restore_terminal()
            last_words(f"\ninterrupted; go on with: {go_on}")
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
def heartbeat(session: Session) -> Iterator[None]:
    """Keep the lease fresh while a round waits for a training or a model; a lease that is lost stops the session."""
    done = Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS) and session.keep():
            pass

    tell_of_waiting(partial(say, session.console))
    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
