"""What was said: every exchange with a language model, the messages of people, and what they decided of proposals.

Secrets are taken out. A decision under ``--approve`` is a message of role ``approval`` about one proposal of one round;
the first one stays, so that a resume does not ask twice. A model call and its
entry in the ledger are one transaction. Nothing here talks to a model or shapes a prompt.

What makes a replay exact:

- `extra` = ``{"base_url": …, "tools": {name: sha of its schema}, "billed": bool, …}``; further keys are kept as
  they are. A call that the server turned away is not billed; one that timed out may be.
- each message of ``request["messages"]`` that a template made carries its own origin, as `prompts.origin` writes
  it: the template, its sha, and either the moment (`memory.journal.moment`) at which the memory was read for it, in
  the same `memory.journal.snapshot`, or the values themselves.
- `cost_usd` is None where it is unknown: no price, or an answer that never came and may be billed all the same.
"""

import json
from typing import Any

from sqlite_utils import Database

from diffusion.spec import UNetSpec
from memory.connection import insert, transaction, utc_now
from memory.ledger import charge
from memory.redaction import redact, redact_optional, redacted_json

APPROVAL = "approval"


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
    extra: dict[str, Any] | None = None,
) -> int:
    """Keep one exchange, answered or not, and charge it to the ledger; gives its id."""
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
            extra_json=None if extra is None else redacted_json(extra),
        )
        tokens = {"input_tokens": input_tokens or 0, "output_tokens": output_tokens or 0}
        charge(db, search, "model", wall_seconds=seconds, cost_usd=cost_usd, note=f"{purpose}: {model}", **tokens)
        return call


def add_message(
    db: Database,
    search: int,
    role: str,
    text: str,
    *,
    author: str = "user",
    round_number: int | None = None,
    key: str | None = None,
) -> int:
    """Keep one message of a conversation about a search; gives its id. A `key` that is there already adds nothing."""
    with transaction(db) as conn:
        if key is not None:
            known = conn.execute("SELECT id FROM messages WHERE search = ? AND key = ?", [search, key]).fetchone()
            if known:
                return int(known["id"])
        return insert(
            conn,
            "messages",
            search=search,
            round=round_number,
            role=role,
            author=redact(author),
            text=redact(text),
            created=utc_now(),
            key=key,
        )


def find_message(db: Database, search: int, key: str) -> dict[str, Any] | None:
    """The message of a key; None where none of it was kept."""
    row = db.conn.execute("SELECT * FROM messages WHERE search = ? AND key = ?", [search, key]).fetchone()
    return None if row is None else dict(row)


def recent_messages(db: Database, search: int, limit: int = 20) -> list[dict[str, Any]]:
    """The last messages of a search, oldest first."""
    rows = db.conn.execute("SELECT * FROM messages WHERE search = ? ORDER BY id DESC LIMIT ?", [search, limit])
    return [dict(row) for row in rows][::-1]


def record_decision(
    db: Database, search: int, round_number: int, proposed: UNetSpec, *, spec: UNetSpec, rejected: str | None
) -> None:
    """Keep what was decided about a proposal: the spec that may be trained, or why none may."""
    text = json.dumps({"proposed": str(proposed), "spec": str(spec), "rejected": rejected})
    key = f"{APPROVAL}-{search}-{round_number}-{proposed}"
    add_message(db, search, APPROVAL, text, round_number=round_number, key=key)


def decision_on(db: Database, search: int, round_number: int, proposed: UNetSpec) -> dict[str, Any] | None:
    """The stored decision about a proposal of a round: `spec` and `rejected`."""
    rows = db.conn.execute(
        "SELECT text FROM messages WHERE search = ? AND round = ? AND role = ? ORDER BY id",
        [search, round_number, APPROVAL],
    )
    found = (json.loads(row["text"]) for row in rows)
    return next((decision for decision in found if decision["proposed"] == str(proposed)), None)
