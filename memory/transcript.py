"""What was said: every exchange with a language model, and the messages of people, with secrets taken out.

A model call and its entry in the ledger are one transaction. Nothing here talks to a model or shapes a prompt.
"""

from typing import Any

from sqlite_utils import Database

from memory.clock import utc_now
from memory.connection import insert, transaction
from memory.ledger import charge
from memory.redaction import redact, redact_optional, redacted_json


def record_call(
    db: Database,
    search: int,
    round_number: int | None,
    *,
    purpose: str,
    model: str,
    request: Any,
    response: Any | None,
    error: str | None,
    input_tokens: int | None,
    output_tokens: int | None,
    cost_usd: float | None,
    seconds: float,
) -> int:
    """Keep one exchange and charge it to the ledger; gives its id."""
    with transaction(db) as conn:
        call = insert(
            conn,
            "model_calls",
            search=search,
            round=round_number,
            purpose=purpose,
            model=redact(model),
            request_json=redacted_json(request),
            response_json=None if response is None else redacted_json(response),
            error=redact_optional(error),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost_usd=cost_usd,
            seconds=seconds,
            created=utc_now(),
        )
        charge(
            db,
            search,
            "model",
            wall_seconds=seconds,
            input_tokens=input_tokens or 0,
            output_tokens=output_tokens or 0,
            cost_usd=cost_usd,
            note=f"{purpose}: {model}",
        )
        return call


def add_message(
    db: Database, search: int, role: str, text: str, *, author: str = "user", round_number: int | None = None
) -> int:
    """Keep one message of a conversation about a search; gives its id."""
    with transaction(db) as conn:
        return insert(
            conn,
            "messages",
            search=search,
            round=round_number,
            role=role,
            author=redact(author),
            text=redact(text),
            created=utc_now(),
        )


def recent_messages(db: Database, search: int, limit: int = 20) -> list[dict[str, Any]]:
    """The last messages of a search, oldest first."""
    rows = db.conn.execute("SELECT * FROM messages WHERE search = ? ORDER BY id DESC LIMIT ?", [search, limit])
    return [dict(row) for row in rows][::-1]
