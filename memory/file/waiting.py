"""A connection that waits while another program holds the file: it says so, and gives up in one sentence.

SQLite's own wait is silent, and cannot be interrupted while it lasts. Backups, file synchronisers and database browsers
hold a file for half a minute without harm.
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffusion.errors import UserError

SLICE_SECONDS = 1.0  # of SQLite's own wait, within which no Ctrl-C is heard
SAY_AFTER_SECONDS = 5.0
PATIENCE_SECONDS = 60.0

WAITABLE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_BUSY_TIMEOUT}

_listeners: list[Callable[[str], object]] = []
_told: dict[Path, float] = {}  # when it was said last of a file, by the monotonic clock: threads wait together


class Held(UserError):
    """Another program holds the memory for longer than anybody waits."""


def tell_of_waiting(say: Callable[[str], object]) -> None:
    """From now on this process says there, and nowhere else, that it waits."""
    _listeners[:] = [say]


class PatientConnection(sqlite3.Connection):
    """A connection whose statements wait for the file.

    Raises:
        Held: the file was not to be had for `PATIENCE_SECONDS`.
    """

    path: Path = Path()

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As `sqlite3.Connection.execute`, which waits only so long as SQLite does."""
        began, said = time.monotonic(), False
        while True:
            try:
                return super().execute(*arguments)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode not in WAITABLE:
                    raise
                waited = time.monotonic() - began
                if waited > PATIENCE_SECONDS:
                    raise Held(_too_long(self.path)) from error
                said = said or _say(self.path, waited)
                time.sleep(0.02)  # some locks are refused at once, such as that of a change to WAL


def _say(path: Path, waited: float) -> bool:
    """Tell whoever listens, once the wait is long enough; whether it was."""
    if waited < SAY_AFTER_SECONDS:
        return False
    now = time.monotonic()
    if now - _told.get(path, -PATIENCE_SECONDS) < PATIENCE_SECONDS / 2:
        return True
    _told[path] = now
    for say in _listeners:
        say(f"'{path}' is held by another program; waiting for it, {PATIENCE_SECONDS:.0f} s at most")
    return True


def _too_long(path: Path) -> str:
    return (
        f"'{path}' was held by another program for more than {PATIENCE_SECONDS:.0f} s;"
        " close that one and try again, or name another file with --db"
    )
