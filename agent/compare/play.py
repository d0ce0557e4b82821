"""Plays the searches of a comparison, several at once, each in a process that does nothing else; what is done stays.

Every search is a search like any other, in the same memory: it can be looked at while the comparison goes on, and one
that was interrupted goes on where it was.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

from agent.compare.plan import Comparison, Entry, check_begun
from agent.config.settings import RunConfig
from agent.exit_codes import INTERRUPTED
from agent.search.begin import open_run
from agent.search.drive import drive
from agent.search.plan import plan, reopened
from agent.searchers.own import own_proposer
from diffusion.errors import UserError, command
from memory.connection import opened
from memory.searches import find_protocol, list_searches


def left(comparison: Comparison) -> list[Entry]:
    """The searches that are not finished.

    Raises:
        UserError: one was begun under other settings.
    """
    with opened(comparison.config.places.db) as db:
        check_begun(db, comparison)
        states = {row.name: row.state for row in list_searches(db)}
    return [entry for entry in comparison if states.get(entry.name) != "finished"]


def play(comparison: Comparison, processes: int) -> Generator[Entry]:
    """Play what is left; each search as it ends.

    Args:
        comparison: what is compared.
        processes: searches at once; a single one is played in this process.

    Raises:
        UserError: a search cannot be played as it is asked for.
        KeyboardInterrupt: the user stopped one; all can be gone on with.
    """
    entries, log = left(comparison), comparison.config.places.out / "compare.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if processes > 1:
        yield from _beside(entries, processes, log)
        return
    for entry in entries:
        with _aside(log):
            code = _play(entry.config)
        yield _over(entry, code)


def _beside(entries: list[Entry], processes: int, log: Path) -> Iterator[Entry]:
    """Several at once, each in a process."""
    waiting, context = iter(entries), multiprocessing.get_context("spawn")  # a fork with threads may hang
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_quiet, initargs=(log,)) as pool:
        running: dict[Future[int], Entry] = {}
        try:
            while True:
                while len(running) < processes and (entry := next(waiting, None)):
                    running[pool.submit(_play, entry.config)] = entry
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield _over(running.pop(future), future.result())
        except BaseException:
            for process in list(pool._processes.values()):  # each saves what it has, as on Ctrl-C
                os.kill(process.pid or 0, signal.SIGINT) if process.is_alive() else None
            raise


def _over(entry: Entry, code: int) -> Entry:
    """A search that ended as it should."""
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        look = command("status", entry.name, db=entry.config.places.db)
        raise UserError(f"'{entry.name}' stopped with code {code}; look at `{look}`")
    return entry


def _quiet(log: Path) -> None:
    """A worker says nothing, since many at once would talk in confusion: what it has for people goes into a file."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with open(os.devnull, "w") as nowhere, log.open("a", encoding="utf-8", errors="replace") as file:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())


@contextmanager
def _aside(log: Path) -> Iterator[None]:
    """The same for a search in this process."""
    with (
        open(os.devnull, "w") as nowhere,
        log.open("a", encoding="utf-8", errors="replace") as file,
        redirect_stdout(nowhere),
        redirect_stderr(file),
    ):
        yield


def _play(config: RunConfig) -> int:
    """One search, begun or gone on with; its exit code."""
    name, db_path = config.search.name, config.places.db
    with opened(db_path) as db:
        known = next((row for row in list_searches(db) if row.name == name), None)
        if known is None:
            planned = plan(config)
            search = open_run(db, planned)
        else:
            search = known.id
            planned = reopened(known.config_json, find_protocol(db, known.protocol), {"db": db_path})
    return drive(search, replace(planned, proposer=own_proposer(config)), as_json=True)
