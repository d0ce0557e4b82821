"""What a search has used: device time, wall-clock, tokens and money, one append-only row for each use.

Totals are sums over the rows, so they survive every restart. Limits are not enforced here.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict
from sqlite_utils import Database

from memory.clock import utc_now
from memory.connection import insert, transaction
from memory.redaction import redact

Kind = Literal["train", "score", "model", "wall"]


class Ledger(BaseModel):
    """The totals of one search; `cost_usd` is None as soon as one call had an unknown price."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device_seconds: float = 0.0
    wall_seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0


def charge(
    db: Database,
    search: int,
    kind: Kind,
    *,
    device_seconds: float = 0.0,
    wall_seconds: float = 0.0,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cost_usd: float | None = 0.0,
    note: str = "",
) -> None:
    """Write one use down; `cost_usd` None means that its price is unknown."""
    with transaction(db) as conn:
        insert(
            conn,
            "ledger",
            search=search,
            created=utc_now(),
            kind=kind,
            device_seconds=device_seconds,
            wall_seconds=wall_seconds,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost_usd=cost_usd,
            note=redact(note),
        )


def totals(db: Database, search: int) -> Ledger:
    """The sums of a search. Wall-clock is that of kind ``wall`` alone: trainings and calls happen within it."""
    row = db.conn.execute(
        "SELECT coalesce(sum(device_seconds), 0.0) AS device_seconds,"
        " coalesce(sum(wall_seconds) FILTER (WHERE kind = 'wall'), 0.0) AS wall_seconds,"
        " coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(output_tokens), 0) AS output_tokens,"
        " CASE WHEN count(*) = count(cost_usd) THEN coalesce(sum(cost_usd), 0.0) END AS cost_usd"
        " FROM ledger WHERE search = ?",
        [search],
    ).fetchone()
    return Ledger(**dict(row))
