"""Directives: what people told a search to do or to leave, kept until it is done or taken back, and what they changed.

Each write is one transaction, and may be repeated: a message that is delivered twice adds one directive, a decision
that is cited twice is cited once. What a kind means, and who obeys, is not known here (`tools.gates.directives`,
`agent.search.directives`).
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sqlite_utils import Database

from diffusion.errors import UserError
from memory.connection import insert, transaction, utc_now
from memory.redaction import redact, redacted_json

State = Literal["active", "done", "undone"]

LONGEST_NAME = 120  # characters of a directive's text wherever it is named


@dataclass(frozen=True)
class DirectiveRow:
    """One directive of a person as stored.

    `text` is as it was typed, `seen_round` the first round that obeyed it, `replaced_by` what came in its place.
    """

    id: int
    search: int
    kind: str
    arguments: dict[str, Any]
    text: str
    author: str
    state: State
    created: str
    seen_round: int | None
    ended: str | None
    replaced_by: int | None

    @property
    def said(self) -> str:
        """What was typed, in quotes and in one line."""
        text = " ".join(self.text.split())
        return f'"{text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"}"'

    @property
    def name(self) -> str:
        """How it is named wherever it changed something, such as ``directive 3: "no attention at stage 0"``."""
        return f"directive {self.id}: {self.said}"


def add_directive(
    db: Database,
    search: int,
    kind: str,
    arguments: dict[str, Any],
    text: str,
    *,
    author: str = "user",
    key: str | None = None,
    replaces: Iterable[int] = (),
) -> int:
    """Keep a directive in the place of those that it `replaces`, which are taken back; gives its id.

    The `key` of a message that was delivered before gives the id it had then.
    """
    with transaction(db) as conn:
        if key is not None:
            known = conn.execute("SELECT id FROM directives WHERE search = ? AND key = ?", [search, key]).fetchone()
            if known:
                return int(known["id"])
        added = insert(
            conn,
            "directives",
            search=search,
            kind=kind,
            arguments_json=redacted_json(arguments),
            text=redact(text),
            author=redact(author),
            state="active",
            created=utc_now(),
            key=key,
        )
        for earlier in replaces:
            conn.execute("UPDATE directives SET replaced_by = ? WHERE id = ? AND state = 'active'", [added, earlier])
            _end(conn, earlier, "undone")
        return added


def replaced_directives(db: Database, search: int, directive: int) -> list[DirectiveRow]:
    """What a directive came in the place of, oldest first."""
    return _where(db, "search = ? AND replaced_by = ?", search, directive)


def active_directives(db: Database, search: int) -> list[DirectiveRow]:
    """What holds now, oldest first."""
    return _where(db, "search = ? AND state = 'active'", search)


def all_directives(db: Database, search: int) -> list[DirectiveRow]:
    """Everything that was ever told, oldest first."""
    return _where(db, "search = ?", search)


def directives_under(db: Database, search: int, key: str) -> list[DirectiveRow]:
    """What the message of a key led to, oldest first: a message's own directive, or those of the model's answer."""
    return _where(db, "search = ? AND (key = ? OR substr(key, 1, ?) = ?)", search, key, len(key) + 1, f"{key}-")


def find_directive(db: Database, search: int, directive: int) -> DirectiveRow:
    """The directive of a number.

    Raises:
        UserError: the search has none of it.
    """
    found = _where(db, "search = ? AND id = ?", search, directive)
    if not found:
        known = ", ".join(str(each.id) for each in active_directives(db, search)) or "none"
        raise UserError(f"'{directive}' is not a directive of this search; active now: {known}")
    return found[0]


def latest_directive(db: Database, search: int) -> DirectiveRow:
    """The latest active directive.

    Raises:
        UserError: there is none.
    """
    active = active_directives(db, search)
    if not active:
        raise UserError("'undo': no directive is active; list all of them with /directives")
    return active[-1]


def undo_directive(db: Database, search: int, directive: int | None, restore: Iterable[int] = ()) -> DirectiveRow:
    """Take one back, the latest active one if none is named; gives it as it is then.

    Those of `restore` that it came in the place of are in force again.

    Raises:
        UserError: there is none, or it is not active any more.
    """
    with transaction(db) as conn:
        if directive is None:
            directive = latest_directive(db, search).id
        known = find_directive(db, search, directive)
        if known.state != "active":
            raise UserError(f"'{directive}' is {known.state} already; only an active directive can be taken back")
        _end(conn, directive, "undone")
        for earlier in restore:
            conn.execute(
                "UPDATE directives SET state = 'active', ended = NULL, replaced_by = NULL"
                " WHERE id = ? AND replaced_by = ? AND state = 'undone'",
                [earlier, directive],
            )
        return find_directive(db, search, directive)


def finish_directive(db: Database, directive: int) -> None:
    """Note that one was carried out; one that is over stays as it is."""
    with transaction(db) as conn:
        _end(conn, directive, "done")


def see_directive(db: Database, directive: int, round_number: int) -> None:
    """Note the first round that obeys one; the first stays."""
    with transaction(db) as conn:
        conn.execute(
            "UPDATE directives SET seen_round = ? WHERE id = ? AND seen_round IS NULL", [round_number, directive]
        )


def cite(db: Database, directive: int, round_number: int, what: str) -> None:
    """Name a directive in the record of a decision that it changed; the same once more changes nothing."""
    with transaction(db) as conn:
        conn.execute(
            "INSERT INTO citations (directive, round, what, created) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [directive, round_number, redact(what), utc_now()],
        )


def citations(db: Database, search: int, round_number: int | None = None) -> list[dict[str, Any]]:
    """The decisions that directives changed, oldest first, of one round or of all."""
    rows = db.conn.execute(
        "SELECT citations.directive, directives.text, citations.round, citations.what, citations.created"
        " FROM citations JOIN directives ON directives.id = citations.directive"
        " WHERE directives.search = ? AND (? IS NULL OR citations.round = ?) ORDER BY citations.id",
        [search, round_number, round_number],
    )
    return [dict(row) for row in rows]


def _end(conn: sqlite3.Connection, directive: int, state: State) -> None:
    conn.execute(
        "UPDATE directives SET state = ?, ended = ? WHERE id = ? AND state = 'active'", [state, utc_now(), directive]
    )


def _where(db: Database, condition: str, *values: Any) -> list[DirectiveRow]:
    rows: Iterable[sqlite3.Row] = db.conn.execute(f"SELECT * FROM directives WHERE {condition} ORDER BY id", values)
    return [
        DirectiveRow(
            **{name: row[name] for name in DirectiveRow.__dataclass_fields__ if name != "arguments"},
            arguments=json.loads(row["arguments_json"]),
        )
        for row in rows
    ]
