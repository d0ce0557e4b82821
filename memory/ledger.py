"""What a search has used: device time, wall-clock, tokens and money, one append-only row for each use.

Totals are sums over the rows, so they survive every restart. Limits are not enforced here.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from sqlite_utils import Database

from memory.connection import insert, transaction, utc_now
from memory.redaction import redact

Kind = Literal["train", "score", "model", "wall"]


class Ledger(BaseModel):
    """The totals of one search; `cost_usd` is None as soon as one call had an unknown price."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    device_seconds: float = 0.0
    """seconds of training and sampling; what was reused costs none"""
    wall_seconds: float = 0.0
    """seconds in which rounds were under way"""
    input_tokens: int = 0
    """tokens read by models"""
    output_tokens: int = 0
    """tokens written by models"""
    cost_usd: float | None = 0.0
    """their price, or `null` as soon as one call had an unknown price"""


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
        "SELECT device_seconds, wall_seconds, input_tokens, output_tokens,"
        " CASE WHEN entries = priced THEN cost_usd END AS cost_usd FROM ledger_totals WHERE search = ?",
        [search],
    ).fetchone()
    return Ledger() if row is None else Ledger(**dict(row))


@dataclass(frozen=True)
class Spent:
    """What the calls of a search took; of those in `unknown` the tokens or the price were not told."""

    tokens: int
    cost_usd: float  # of the calls whose price is known
    longest_answer: int  # tokens
    unknown: tuple[dict[str, Any], ...]  # model, base_url, input_tokens, output_tokens, cost_usd, characters


def spent(db: Database, search: int) -> Spent:
    """The calls of a search so far, failed and repeated ones among them."""
    known = db.conn.execute(
        "SELECT coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0) AS tokens,"
        " coalesce(sum(cost_usd), 0.0) AS cost_usd, coalesce(max(output_tokens), 0) AS longest_answer"
        " FROM model_calls WHERE search = ?",
        [search],
    ).fetchone()
    unknown = db.conn.execute(
        "SELECT model, json_extract(extra_json, '$.base_url') AS base_url, input_tokens, output_tokens, cost_usd,"
        " length(request_json) AS characters FROM model_calls"
        " WHERE search = ? AND (cost_usd IS NULL OR input_tokens IS NULL OR output_tokens IS NULL)"
        " AND coalesce(json_extract(extra_json, '$.billed'), 1)",
        [search],
    )
    return Spent(**dict(known), unknown=tuple(dict(row) for row in unknown))


def seconds_per_mac(db: Database, search: int, kind: Literal["train", "score"]) -> float:
    """The slowest pace of the trainings or scores of a search, by the MACs of a forward pass; 0 where there is none."""
    passes = {
        "train": "SELECT trainings.device_seconds AS seconds, 1.0 * macs_total"
        " * json_extract(strategy_json, '$.batch_size') * steps_done AS macs"
        " FROM trials JOIN trainings ON trainings.id = trials.training"
        " WHERE search = :search AND NOT cached AND trainings.state = 'done'",
        "score": "SELECT scores.device_seconds AS seconds, 1.0 * macs_total * scores.num_images"
        " * json_extract(content_json, '$.score.sampling_steps') AS macs FROM trials"
        " JOIN trainings ON trainings.id = trials.training JOIN scores ON scores.training = trainings.id"
        " JOIN protocols ON protocols.fingerprint = scores.protocol WHERE search = :search",
    }[kind]
    row = db.conn.execute(f"SELECT max(seconds / macs) FROM ({passes}) WHERE macs > 0", {"search": search}).fetchone()
    return float(row[0] or 0.0)
