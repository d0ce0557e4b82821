"""The memory as it was: a moment is a place in the journal, and a copy of the memory can be taken back to it.

The memory itself is only read here; what goes back in time is a copy in a folder that is thrown away.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database

from memory.connection import connect, opened, transaction


def moment(db: Database) -> int:
    """Where the memory stands: every later change has a larger number."""
    return int(db.conn.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0])


@contextmanager
def snapshot(db: Database) -> Iterator[int]:
    """Let everything that is read in the block be of one moment, whatever others write meanwhile; gives the moment."""
    if db.conn.in_transaction:
        yield moment(db)
        return
    db.conn.execute("BEGIN")
    try:
        yield moment(db)
    finally:
        db.conn.rollback()


def inserted_at(db: Database, place: str) -> dict[int, int]:
    """For each row of a table the moment at which it was written; rows from before the journal are not there."""
    rows = db.conn.execute("SELECT row, id FROM journal WHERE place = ? AND change = 'insert'", [place])
    return {row["row"]: row["id"] for row in rows}


class Past:
    """A copy of the memory, in `path`, that goes back in time and never forwards."""

    def __init__(self, path: Path, db: Database) -> None:
        self.path, self.db = path, db
        names = [row["name"] for row in db.conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        self.reals = {name: self._reals(name) for name in names}  # of each table, the columns that JSON holds as text

    def back_to(self, when: int) -> None:
        """Undo every change after a moment.

        Raises:
            ValueError: the copy is before that moment already.
        """
        if when > moment(self.db):
            raise ValueError(f"the copy is at moment {moment(self.db)}, before {when}")
        with transaction(self.db) as conn:
            later = conn.execute("SELECT * FROM journal WHERE id > ? ORDER BY id DESC", [when]).fetchall()
            for entry in later:
                self._undo(entry["place"], entry["row"], entry["before_json"])
            conn.execute("DELETE FROM journal WHERE id > ?", [when])

    def _reals(self, place: str) -> list[str]:
        return [row["name"] for row in self.db.conn.execute(f"PRAGMA table_info({place})") if row["type"] == "REAL"]

    def _undo(self, place: str, row: int, before_json: str | None) -> None:
        if place not in self.reals:
            raise LookupError(f"the journal names a table {place!r} that is not there")
        later = self.db.conn.execute(f"SELECT * FROM {place} WHERE rowid = ?", [row]).fetchone()
        self.db.conn.execute(f"DELETE FROM {place} WHERE rowid = ?", [row])
        if before_json is not None:
            values = dict(later or {}) | json.loads(before_json)  # an entry lacks the columns that came after it
            values |= {name: float(values[name]) for name in self.reals[place] if values[name] is not None}
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            self.db.conn.execute(f"INSERT INTO {place} ({names}) VALUES ({marks})", list(values.values()))


@contextmanager
def past_of(path: Path) -> Iterator[Past]:
    """A copy of a memory, at its present moment, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="diffnas-past-") as folder:
        copy = Path(folder) / "past.db"
        with closing(connect(copy)) as db:
            with opened(path, read_only=True) as source:
                source.conn.backup(db.conn)
            db.conn.execute("PRAGMA foreign_keys = OFF")
            db.conn.execute("PRAGMA synchronous = OFF")  # of a copy that is thrown away
            for row in db.conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                if not row["name"].startswith("derived_"):  # those keep what questions are answered from in step
                    db.conn.execute(f"DROP TRIGGER {row['name']}")
            yield Past(copy, db)
