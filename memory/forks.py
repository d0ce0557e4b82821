"""Forks: a search that begins with a copy of another one's first rounds and goes on by itself.

Proposals, trials, verdicts and what steers the search are copied; trainings and their scores are shared, so nothing is
trained or measured again. What the first rounds cost stays in the first search's ledger.
"""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from diffusion.errors import UserError
from memory.connection import insert, transaction, utc_now
from memory.searches import SearchRow, create_search, find_protocol, set_state
from memory.trials import rounds_over


@dataclass(frozen=True)
class Fork:
    """Where a search was copied from, and after which round."""

    search: int
    parent: int
    round: int


def fork_of(db: Database, search: int) -> Fork | None:
    """The fork that a search is, if it is one."""
    row = db.conn.execute("SELECT search, parent, round FROM forks WHERE search = ?", [search]).fetchone()
    return None if row is None else Fork(**dict(row))


def fork_search(
    db: Database,
    parent: SearchRow,
    at: int,
    *,
    name: str,
    backend: str,
    config: dict[str, Any],
    lasting: Collection[str],
) -> int:
    """A new search, interrupted after round `at`; gives its number.

    Directives of the `lasting` kinds are taken along; the others were said to one search, once.

    Raises:
        UserError: a round up to `at` is not over, or the name is taken.
    """
    with transaction(db) as conn:
        _check_rounds(parent, at, rounds_over(db, parent.id))
        search = create_search(
            db,
            name=name,
            budget_macs=parent.budget_macs,
            count_convention=parent.count_convention,
            rounds=parent.rounds,
            seed=parent.seed,
            kind=parent.kind,
            searcher=parent.searcher,
            backend=backend,
            protocol=find_protocol(db, parent.protocol),
            config=config,
        )
        insert(conn, "forks", search=search, parent=parent.id, round=at, created=utc_now())
        trials = _copy_trials(conn, parent.id, search, at)
        _copy_what_was_known(conn, parent.id, search, trials, lasting)
        set_state(db, search, "interrupted", f"a fork of {parent.name} after round {at}")
        return search


def free_fork_name(db: Database, parent: str, at: int) -> str:
    """``NAME-at-3``, or with a number behind it the first such name that is free."""
    stem = f"{parent[:50]}-at-{at}"
    taken = {row["name"] for row in db.conn.execute("SELECT name FROM searches")}
    number, name = 2, stem
    while name in taken:
        number, name = number + 1, f"{stem}-{number}"
    return name


def _check_rounds(parent: SearchRow, at: int, over: set[int]) -> None:
    missing = [number for number in range(at + 1) if number not in over]
    if missing:
        known = f"take --at {missing[0] - 1} or less" if missing[0] else "its baseline has to be scored first"
        raise UserError(f"--at {at}: round {missing[0]} of {parent.name} is not over; {known}")


def _copy_trials(conn: sqlite3.Connection, parent: int, search: int, at: int) -> dict[int, int]:
    """Proposals and trials of the first rounds; the new trials by the old ones."""
    proposals = {
        row["id"]: _copied(conn, "proposals", row, search=search)
        for row in conn.execute("SELECT * FROM proposals WHERE search = ? AND round <= ? ORDER BY id", [parent, at])
    }
    rows = conn.execute("SELECT * FROM trials WHERE search = ? AND round <= ? ORDER BY id", [parent, at]).fetchall()
    return {
        row["id"]: _copied(conn, "trials", row, search=search, proposal=proposals[row["proposal"]], cached=1)
        for row in rows
    }


def _copy_what_was_known(
    conn: sqlite3.Connection, parent: int, search: int, trials: dict[int, int], lasting: Collection[str]
) -> None:
    """Verdicts, replicas and lasting directives, as they stood when the last of the rounds was over."""
    marks = ", ".join("?" * len(trials))
    until = conn.execute(f"SELECT max(finished) FROM trials WHERE id IN ({marks})", list(trials)).fetchone()[0]
    for row in conn.execute(f"SELECT * FROM verdicts WHERE trial IN ({marks})", list(trials)).fetchall():
        insert(conn, "verdicts", **{**dict(row), "trial": trials[row["trial"]]})
    replicas = conn.execute(
        "SELECT * FROM replicas WHERE search = ? AND state <> 'running' AND finished <= ?", [parent, until]
    )
    for row in replicas.fetchall():
        if row["trial"] in trials:
            _copied(conn, "replicas", row, search=search, trial=trials[row["trial"]])
    directives = conn.execute(
        f"SELECT * FROM directives WHERE search = ? AND kind IN ({', '.join('?' * len(lasting))})"
        " AND created <= ? AND (ended IS NULL OR ended > ?) ORDER BY id",
        [parent, *lasting, until, until],
    )
    for row in directives.fetchall():
        _copied(conn, "directives", row, search=search, state="active", ended=None, key=None)


def _copied(conn: sqlite3.Connection, table: str, row: sqlite3.Row, **changes: Any) -> int:
    """A row again, with another id and these changes; gives the id."""
    values = {name: row[name] for name in row.keys() if name != "id"}  # noqa: SIM118  # a Row iterates over values
    return insert(conn, table, **{**values, **changes})
