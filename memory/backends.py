"""What was found out about backends: how a model is to be asked for tool calls, and how well it did in the exam.

Every finding is a row; the newest of a backend counts. Nothing here talks to a model.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from sqlite_utils import Database

from memory.connection import finite, insert, transaction, utc_now
from memory.redaction import redact, redacted_json

Way = Literal["tools", "json_schema", "fenced_json"]
"""How a model is asked for a tool call: natively, by an output schema, or by words and a fenced JSON object."""


@dataclass(frozen=True)
class BackendCheck:
    """One finding; `passed` of `cases` is None where a search found out by itself how the model answers."""

    id: int
    created: str
    llm: str
    base_url: str | None
    answers: Way
    source: Literal["doctor", "search"]
    passed: int | None
    cases: int | None
    tokens_per_second: float | None
    detail: Any


def remember_backend(
    db: Database,
    llm: str,
    base_url: str | None,
    answers: Way,
    *,
    source: Literal["doctor", "search"],
    passed: int | None = None,
    cases: int | None = None,
    tokens_per_second: float | None = None,
    detail: Any = None,
) -> int:
    """Keep one finding; gives its id."""
    with transaction(db) as conn:
        return insert(
            conn,
            "backend_checks",
            created=utc_now(),
            llm=redact(llm),
            base_url=redact(base_url or ""),
            answers=answers,
            source=source,
            passed=passed,
            cases=cases,
            tokens_per_second=finite(tokens_per_second),
            detail_json=redacted_json(detail),
        )


def known_backend(db: Database, llm: str, base_url: str | None) -> BackendCheck | None:
    """The newest finding about a backend."""
    row = db.conn.execute(
        "SELECT * FROM backend_checks WHERE llm = ? AND base_url = ? ORDER BY id DESC LIMIT 1",
        [redact(llm), redact(base_url or "")],
    ).fetchone()
    if row is None:
        return None
    values = dict(row)
    values["detail"] = json.loads(values.pop("detail_json"))
    return BackendCheck(**{**values, "base_url": values["base_url"] or None})
