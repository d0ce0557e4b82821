"""Plays the searches of a comparison, several at once, each in a process that does nothing else; what is done stays.

Every search is a search like any other, in the same memory: it can be looked at while the comparison goes on, and one
that was interrupted goes on where it was.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from agent.compare.plan import Comparison, Entry
from agent.config.settings import RunConfig
from agent.search.begin import open_run
from agent.search.drive import drive
from agent.search.plan import plan, reopened
from diffusion.errors import UserError
from memory.connection import opened
from memory.searches import find_protocol, list_searches


def left(comparison: Comparison) -> list[Entry]:
    """The searches that are not finished."""
    with opened(comparison.config.places.db) as db:
        states = {row.name: row.state for row in list_searches(db)}
    return [entry for entry in comparison if states.get(entry.name) != "finished"]


def play(comparison: Comparison, processes: int) -> Iterator[Entry]:
    """Play what is left; each search as it ends.

    Args:
        comparison: what is compared.
        processes: searches at once.

    Raises:
        UserError: a search cannot be played as it is asked for.
    """
    entries = iter(left(comparison))
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_quiet) as pool:
        running: dict[Future[int], Entry] = {}
        try:
            while True:
                while len(running) < processes and (entry := next(entries, None)):
                    running[pool.submit(_play, entry.config)] = entry
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    entry, code = running.pop(future), future.result()
                    if code:
                        raise UserError(
                            f"'{entry.name}' stopped with code {code}; look at `diffnas-agent status {entry.name}`"
                        )
                    yield entry
        except BaseException:
            for process in list(pool._processes.values()):  # each saves what it has, as on Ctrl-C
                os.kill(process.pid or 0, signal.SIGINT) if process.is_alive() else None
            raise


def _quiet() -> None:
    """A worker says nothing: many searches at once would talk in confusion; their events stand in memory."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    sys.stdin.close()


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
    with _errors_kept(config.places.out / "compare.log"):
        return drive(search, planned, as_json=True)


@contextmanager
def _errors_kept(log: Path) -> Iterator[None]:
    """What a search says to people goes into a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(sys.stderr.fileno())
    with log.open("a") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, sys.stderr.fileno())
            os.close(kept)
