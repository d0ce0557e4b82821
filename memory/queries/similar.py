"""The trials nearest to a spec."""

import math
import sqlite3

from sqlite_utils import Database

from diffusion.spec import PAPER_PARAMETERS, UNetSpec
from memory.queries.ranking import Record
from memory.queries.records import Scope, Seen, seen_by, shown

DISTANCE = "sum over the ten numbers: |log2 of the ratio| for channels, blocks and multipliers, 1 for each other attn"
SIZES, FLAGS = PAPER_PARAMETERS[:6], PAPER_PARAMETERS[6:]
REACHES = (1.2, math.inf)
"""Distances to look within until enough is found: first for one number halved, doubled or switched."""

_SIZES_APART = " + ".join(f"abs(log2(1.0 * seen.{name} / :{name}))" for name in SIZES)
_FLAGS_APART = " + ".join(f"(seen.{name} <> :{name})" for name in FLAGS)


def similar(
    db: Database,
    search: int,
    spec: UNetSpec,
    limit: int = 10,
    *,
    scope: Scope = "search",
    protocol: str | None = None,
) -> list[Record]:
    """The trials nearest to a spec, nearest first, with what differs; also those that failed or still run."""
    _know_log2(db.conn)
    seen = seen_by(db, search, scope, protocol)
    for reach in REACHES:
        found = _nearest(db, seen, spec, reach, limit)
        if len(found) == limit and found[-1]["distance"] < reach:
            break
    return [_compared(spec, record) for record in found]


def spec_distance(one: UNetSpec, other: UNetSpec) -> float:
    """How far two specs are apart (`DISTANCE`): twice a width is as far as one attention more."""
    sizes = zip(one.row[:6], other.row[:6], strict=True)
    flags = zip(one.attn, other.attn, strict=True)
    return sum(math.log2(max(pair) / min(pair)) for pair in sizes) + sum(a != b for a, b in flags)


def _nearest(db: Database, seen: Seen, spec: UNetSpec, reach: float, limit: int) -> list[Record]:
    """The nearest trials, as rows with their `distance`, among all that are no farther than `reach` and some that are.

    Plain bounds leave out most of the others: they take less than logarithms.
    """
    bounds = [f"seen.{name} BETWEEN :{name} * :under AND :{name} * :over" for name in SIZES]
    rows = db.conn.execute(
        f"""
        SELECT found.*, near.distance AS distance FROM (
            SELECT seen.trial AS trial, round({_SIZES_APART} + {_FLAGS_APART}, 4) AS distance FROM standings AS seen
            WHERE {" AND ".join([*bounds, f"{_FLAGS_APART} <= :reach", seen.where])}
            ORDER BY distance, seen.trial LIMIT :limit
        ) AS near CROSS JOIN all_results AS found ON found.trial = near.trial AND found.protocol = :protocol
        ORDER BY near.distance, near.trial
        """,
        {
            **seen.values,
            **dict(zip(PAPER_PARAMETERS, spec.row, strict=True)),
            "reach": reach,
            "under": 2.0**-reach,
            "over": 2.0**reach,
            "limit": limit,
        },
    )
    return [dict(row) for row in rows]


def _compared(spec: UNetSpec, record: Record) -> Record:
    other = UNetSpec.parse(record["spec"])
    differs = {
        name: {"asked": asked, "here": here}
        for name, asked, here in zip(PAPER_PARAMETERS, spec.row, other.row, strict=True)
        if asked != here
    }
    distance = round(spec_distance(spec, other), 4)
    return {**shown(record), "distance": distance, "distance_is": DISTANCE, "differs_in": differs}


def _know_log2(conn: sqlite3.Connection) -> None:
    """SQLite may have been built without its mathematical functions."""
    try:
        conn.execute("SELECT log2(1)")
    except sqlite3.OperationalError:
        conn.create_function("log2", 1, math.log2, deterministic=True)
