"""What a person said of proposals under ``--approve``, so that a resume does not ask twice.

A decision is a message of role ``approval`` about one proposal of one round; the first one stays. Nothing here asks.
"""

import json
from typing import Any

from sqlite_utils import Database

from diffusion.spec import UNetSpec
from memory.transcript import add_message

APPROVAL = "approval"


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
