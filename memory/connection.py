"""Opens the memory, brings it up to date, and writes to it: several settings hold per connection, so all pass here.

A connection belongs to one thread. Opening one takes many times as long as a write, so whoever works for long holds a
`Memory`, which keeps one for each thread; for a single look there is `opened`. LangGraph's checkpoints live in a file
of their own: it gets a plain connection, and the tables in it are LangGraph's. Every error sentence starts with the
path that was typed:

    absent (read-only) · held by another program · not a diffnas memory · from a newer version
    from an older one (read-only) · cannot be opened
"""

import math
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlite_utils import Database

from diffusion.errors import UserError
from memory.file.opening import check_place, explained, foreign, no_memory, open_checkpoints, open_file
from memory.schema.migrations import MIGRATIONS, migration_names

APPLICATION_ID = 0x444E4153  # "DNAS"

_inherited: list[dict[threading.Thread, Database]] = []  # by a fork; never used, and never closed


def connect(path: Path, *, read_only: bool = False, check_same_thread: bool = True) -> Database:
    """The memory in `path`, created or brought up to date when it may be written.

    Args:
        path: the file.
        read_only: nothing is created, migrated or written.
        check_same_thread: whether SQLite refuses every other thread, even one that only closes.

    Raises:
        UserError: the file is not ours, not there (read-only), newer than this code, or cannot be opened.
    """
    path = Path(path)
    check_place(path, read_only)
    conn = None
    try:
        conn = open_file(path, read_only, check_same_thread)
        db = Database(conn, execute_plugins=False)
        _prepare(db, path, read_only)
        return db
    except BaseException as error:
        if conn is not None:
            conn.close()
        if isinstance(error, sqlite3.Error):
            raise explained(path, error) from error
        raise


def check_memory(path: Path, *, read_only: bool = False) -> None:
    """Whether a memory is, or can be made, in `path`; none is made.

    Raises:
        UserError: as `connect`.
    """
    if path.exists() and path.stat().st_size:  # an empty file becomes one
        connect(path, read_only=read_only).close()
    else:
        check_place(path, read_only=False)


def check_existing_memory(path: Path) -> None:
    """Bring a memory that is there up to date; none is made.

    Raises:
        UserError: there is none, or as `connect`.
    """
    if not path.exists():
        raise no_memory(path)
    connect(path).close()


@contextmanager
def opened(path: Path, read_only: bool = False) -> Iterator[Database]:
    """`connect`, closed at the end of the block."""
    with closing(connect(path, read_only=read_only)) as db:
        yield db


class Memory:
    """A memory that stays open: `db` is the connection of the thread that asks, made when it first does.

    A connection is closed some time after its thread has ended, and all of them by `close`. A forked process gets its
    own: SQLite forbids to use, or to close, those of its parent. A SELECT that is not read to its end holds its moment
    of the memory fast, so take rows out (`fetchall`) before anything else happens.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path, self.read_only, self._is_closed = path, read_only, False
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def db(self) -> Database:
        """This thread's connection.

        Raises:
            UserError: as `connect`.
            RuntimeError: the memory was closed.
        """
        self._leave_to_parent()
        found = self._connections.get(threading.current_thread())
        return self._connect() if found is None else found

    def close(self) -> None:
        """Close the connections of all threads; they must be done with them."""
        self._leave_to_parent()
        with self._lock:
            self._is_closed = True
            self._close(list(self._connections))

    def _begin(self) -> None:
        """Nothing is connected yet in this process."""
        self._process, self._lock = os.getpid(), threading.Lock()
        self._connections: dict[threading.Thread, Database] = {}

    def _leave_to_parent(self) -> None:
        """In a forked process begin anew, with a lock of its own too: the fork may have copied one that was held."""
        if self._process != os.getpid():
            _inherited.append(self._connections)
            self._begin()

    def _connect(self) -> Database:
        with self._lock:
            if self._is_closed:
                raise RuntimeError(f"the memory in {self.path} was closed; it is asked by {threading.current_thread()}")
            self._close([thread for thread in self._connections if not thread.is_alive()])
            db = connect(self.path, read_only=self.read_only, check_same_thread=False)
            self._connections[threading.current_thread()] = db
            return db

    def _close(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            self._connections.pop(thread).close()


@contextmanager
def checkpoint_connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for LangGraph's SqliteSaver, which sets it up, locks it and uses it from several threads."""
    with closing(open_checkpoints(path)) as conn:
        yield conn


@contextmanager
def transaction(db: Database) -> Iterator[sqlite3.Connection]:
    """All or nothing, as the only writer from the first statement on; inside another one, a savepoint of it."""
    if db.conn.in_transaction:
        with db.atomic():
            yield db.conn
        return
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield db.conn
        db.conn.execute("COMMIT")
    except BaseException:
        db.conn.rollback()
        raise


def insert(conn: sqlite3.Connection, table: str, **values: Any) -> int:
    """Insert one row; gives its id."""
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    cursor = conn.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values()))
    return int(cursor.lastrowid or 0)


def utc_now() -> str:
    """The present, such as ``2026-11-21T04:05:06.789+00:00``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def seconds_since(moment: str) -> float:
    """How long ago a stored time was; negative for one that lies ahead."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def finite(value: float | None) -> float | None:
    """SQLite has no NaN and JSON no infinity: a number that is none of these, or nothing."""
    return float(value) if value is not None and math.isfinite(value) else None


def database_path(db: Database) -> str:
    """The file behind a connection."""
    return str(db.conn.execute("PRAGMA database_list").fetchone()["file"])


def _prepare(db: Database, path: Path, read_only: bool) -> None:
    """Checks come first: a file that is not ours is left byte for byte as it was."""
    _check_ours(db, path, read_only)
    _check_version(db, path)
    if read_only:
        if MIGRATIONS.pending(db):
            raise UserError(f"'{path}' is from an older version; `diffnas-agent run` or `resume` brings it up to date")
        return
    db.conn.execute("PRAGMA journal_mode = WAL")
    db.conn.execute("PRAGMA synchronous = FULL")
    if MIGRATIONS.pending(db):
        db.conn.execute("PRAGMA foreign_keys = OFF")  # for tables that are written anew while others refer to them
        with transaction(db) as conn:
            MIGRATIONS.apply(db)
            if broken := conn.execute("PRAGMA foreign_key_check").fetchone():
                raise sqlite3.IntegrityError(f"a row of {broken['table']} refers to no row of {broken['parent']}")
            conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.conn.execute("PRAGMA foreign_keys = ON")


def _check_ours(db: Database, path: Path, read_only: bool) -> None:
    application_id = db.conn.execute("PRAGMA application_id").fetchone()[0]
    if application_id == APPLICATION_ID:
        return
    tables = [row[0] for row in db.conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' LIMIT 3")]
    # The id and the tables of a new memory appear in one commit, which another process may have made in between.
    if db.conn.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
        return
    if application_id or tables:
        what = f"it holds {', '.join(tables)}" if tables else f"its application id is {application_id}"
        raise foreign(path, what)
    if read_only:
        raise no_memory(path)


def _check_version(db: Database, path: Path) -> None:
    applied = {migration.name for migration in MIGRATIONS.applied(db)}
    if unknown := applied - set(migration_names()):
        newer = f"was written by a newer version (it has {max(unknown)}); upgrade diffnas-agent"
        raise UserError(f"'{path}' {newer}, or name another file with --db")
