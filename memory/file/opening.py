"""Opening the file of a memory: the sentences for what SQLite would only call "unable to open database file".

Here alone SQLite's own `connect` is called: everything else asks `memory.connection`.
"""

import os
import sqlite3
from pathlib import Path

from diffusion.errors import UserError
from memory.file.waiting import PATIENCE_SECONDS, SLICE_SECONDS, PatientConnection


def check_place(path: Path, read_only: bool) -> None:
    """Whether a memory can be, or be made, in `path`.

    Raises:
        UserError: it cannot.
    """
    if path.is_dir():
        raise UserError(f"'{path}' is a folder; name a file with --db")
    if read_only and not path.exists():
        raise no_memory(path)
    if not path.parent.is_dir():
        raise UserError(f"'{path}' cannot be made: the folder {path.parent} does not exist; make it or change --db")
    if not read_only and not _may_write(path):
        raise UserError(f"'{path}' cannot be written; check its permissions, or name another file with --db")


def _may_write(path: Path) -> bool:
    return all(os.access(place, os.W_OK) for place in (path, path.parent) if place.exists())


def open_file(path: Path, read_only: bool, check_same_thread: bool) -> PatientConnection:
    """A connection to the file; without `read_only` the file is made where it is not there."""
    alone = "ro" if path.with_name(f"{path.name}-wal").exists() else "ro&immutable=1"  # SQLite needs no file beside it
    mode = (
        "rwc" if not read_only else "rw" if _may_write(path) else alone
    )  # who may not write leaves WAL's files behind
    conn = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=SLICE_SECONDS,
        isolation_level=None,
        check_same_thread=check_same_thread,
        factory=PatientConnection,
    )
    conn.path = path
    conn.row_factory = sqlite3.Row
    conn.execute(f"PRAGMA query_only = {int(read_only)}")
    return conn


def open_checkpoints(path: Path) -> sqlite3.Connection:
    """A plain connection to the file of LangGraph's checkpoints."""
    return sqlite3.connect(path, timeout=PATIENCE_SECONDS, check_same_thread=False)


def explained(path: Path, error: sqlite3.Error) -> UserError:
    """A sentence for what SQLite says of a file that cannot be opened."""
    text = str(error)
    if "not a database" in text or "malformed" in text:
        return foreign(path, text)
    return UserError(f"'{path}' cannot be opened: {text}; check its permissions, or name another file with --db")


def foreign(path: Path, what: str) -> UserError:
    """The sentence for a file of somebody else's."""
    return UserError(f"'{path}' is not a diffnas memory: {what}; name another file with --db")


def no_memory(path: Path) -> UserError:
    """The sentence for a file that is not there, or empty."""
    return UserError(f"'{path}' holds no memory yet; start one with `diffnas-agent run --budget …`")
