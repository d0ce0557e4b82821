"""Searches: what was asked for, under which protocol, and how they stand.

Who drives one is told in `memory.leases`, what happens in it in `memory.trials`.
"""

import json
import re
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from diffusion.errors import UserError, command
from diffusion.settings import Protocol
from memory.connection import database_path, insert, transaction, utc_now
from memory.leases import lease_lives
from memory.redaction import redact_optional, redacted_json

Kind = Literal["run", "train", "study", "measurement", "strategy", "confirm", "compress"]
State = Literal["running", "paused", "interrupted", "finished", "failed"]
LIVE: tuple[State, ...] = ("running", "paused")  # while a process drives it
CountConvention = Literal["paper", "total"]

SHOWN_NAMES = 5
NAME = re.compile(r"(?!\d+$)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class SearchRow:
    """One search as people see it: `state` is ``interrupted`` where the row says running and nobody drives it."""

    id: int
    name: str
    state: State
    created: str
    updated: str
    finished: str | None
    reason: str | None
    budget_macs: int
    count_convention: CountConvention
    rounds: int
    seed: int
    kind: Kind
    searcher: str  # who proposes
    backend: str
    protocol: str
    config_json: str

    @property
    def macs_column(self) -> str:
        """The column of the records that the budget limits."""
        return f"macs_{self.count_convention}"


def create_search(
    db: Database,
    *,
    name: str | None,
    budget_macs: int,
    count_convention: str,
    rounds: int,
    seed: int,
    kind: Kind = "run",
    searcher: str,
    backend: str,
    protocol: Protocol,
    config: dict[str, Any],
) -> int:
    """A new search in state running; take its lease next.

    Raises:
        UserError: the name is taken, or is none that a command line could tell from a number.
    """
    with transaction(db) as conn:
        if name is not None:
            _check_free(conn, name, Path(database_path(db)))
        store_protocol(db, protocol)
        return insert(
            conn,
            "searches",
            name=name or _free_name(conn, protocol.settings.dataset),
            state="running",
            **dict.fromkeys(("created", "updated"), utc_now()),
            budget_macs=budget_macs,
            count_convention=count_convention,
            rounds=rounds,
            seed=seed,
            kind=kind,
            searcher=searcher,
            backend=backend,
            protocol=protocol.fingerprint,
            config_json=redacted_json(config),
        )


def check_name(name: str) -> None:
    """Refuse a name that a command line could not tell from a number, or that would need quotes.

    Raises:
        UserError: one sentence with what is allowed.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"'{name}' cannot name a search; use letters, digits, dots, dashes, and not digits alone")


def store_protocol(db: Database, protocol: Protocol) -> str:
    """Keep what a fingerprint stands for; give the fingerprint."""
    db.conn.execute(
        "INSERT INTO protocols (fingerprint, metric, content_json, created) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [protocol.fingerprint, protocol.score.metric, protocol.model_dump_json(), utc_now()],
    )
    return protocol.fingerprint


def find_protocol(db: Database, fingerprint: str) -> Protocol:
    """The protocol behind a fingerprint; an unknown one is a UserError that lists the known."""
    row = db.conn.execute("SELECT content_json FROM protocols WHERE fingerprint = ?", [fingerprint]).fetchone()
    if row is None:
        rows = db.conn.execute("SELECT fingerprint FROM protocols ORDER BY created DESC LIMIT ?", [SHOWN_NAMES])
        listed = ", ".join(known["fingerprint"] for known in rows) or "none yet"
        raise UserError(f"'{fingerprint}' is not the fingerprint of a protocol in this memory; known: {listed}")
    return Protocol.model_validate_json(row["content_json"])


def find_search(db: Database, name: str | int | None = None, kinds: Collection[Kind] = ()) -> SearchRow:
    """The search of a name or number, or the latest one: of these kinds, if there is one of them.

    Raises:
        UserError: there is none; the sentence lists at most five that there are.
    """
    row = _lookup(db.conn, name, kinds)
    if row is not None:
        return _seen(row)
    known = [known["name"] for known in db.conn.execute("SELECT name FROM searches ORDER BY id DESC")]
    if not known:
        start = "start one with `diffnas-agent run --budget …`"
        raise UserError(f"'{database_path(db) if name is None else name}': this memory holds no search yet; {start}")
    more = f" and {len(known) - SHOWN_NAMES} more" if len(known) > SHOWN_NAMES else ""
    raise UserError(f"'{name}' is not a search of this memory; there are {', '.join(known[:SHOWN_NAMES])}{more}")


def list_searches(db: Database) -> list[SearchRow]:
    """Every search, latest first."""
    return [_seen(row) for row in db.conn.execute("SELECT * FROM searches ORDER BY id DESC")]


def set_state(db: Database, search: int, state: State, reason: str | None = None) -> None:
    """Move a search on; `finished` is set with the states that end it and cleared by those that do not."""
    now = utc_now()
    finished = now if state in ("finished", "failed") else None
    with transaction(db) as conn:
        changed = conn.execute(
            "UPDATE searches SET state = ?, reason = ?, updated = ?, finished = ? WHERE id = ?",
            [state, redact_optional(reason), now, finished, search],
        )
        if not changed.rowcount:
            raise LookupError(f"there is no search {search}")


def change_search(db: Database, search: int, *, rounds: int, backend: str) -> None:
    """What a resume may change about a search; what decides whether scores compare may not."""
    with transaction(db) as conn:
        conn.execute(
            "UPDATE searches SET rounds = ?, backend = ?, updated = ? WHERE id = ?",
            [rounds, backend, utc_now(), search],
        )


def change_config(db: Database, search: int, changes: dict[str, Any]) -> None:
    """Settings that a later resume is to find; what decides whether scores compare is none of them."""
    with transaction(db) as conn:
        row = conn.execute("SELECT config_json FROM searches WHERE id = ?", [search]).fetchone()
        config = redacted_json(json.loads(row["config_json"]) | changes)
        conn.execute("UPDATE searches SET config_json = ?, updated = ? WHERE id = ?", [config, utc_now(), search])


def _seen(row: sqlite3.Row) -> SearchRow:
    values = {name: row[name] for name in SearchRow.__dataclass_fields__}
    if values["state"] == "running" and not lease_lives(row):
        values["state"] = "interrupted"
    return SearchRow(**values)


def _lookup(conn: sqlite3.Connection, name: str | int | None, kinds: Collection[Kind]) -> sqlite3.Row | None:
    if name is None:
        wanted = f"kind IN ({', '.join('?' * len(kinds))})"
        return _first(conn, f"ORDER BY {wanted} DESC, id DESC LIMIT 1", [*kinds])
    if str(name).isascii() and str(name).isdigit():
        return _first(conn, "WHERE id = CAST(? AS INTEGER)", [str(name)])
    return _first(conn, "WHERE name = ?", [name])


def _first(conn: sqlite3.Connection, rest: str, values: list[str | int]) -> sqlite3.Row | None:
    found: sqlite3.Row | None = conn.execute(f"SELECT * FROM searches {rest}", values).fetchone()
    return found


def _check_free(conn: sqlite3.Connection, name: str, path: Path) -> None:
    check_name(name)
    if conn.execute("SELECT 1 FROM searches WHERE name = ?", [name]).fetchone():
        again = command("resume", name, db=path)
        raise UserError(f"'{name}' is taken; go on with `{again}` or choose another --name")


def _free_name(conn: sqlite3.Connection, dataset: str) -> str:
    """The data set's short name and the first number that makes it new, such as ``digits-3``."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(dataset).stem).strip("-").lower()[:40] or "search"
    taken = {row["name"] for row in conn.execute("SELECT name FROM searches")}
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"
