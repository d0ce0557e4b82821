"""The trials nearest to a spec."""

import math
import sqlite3

from sqlite_utils import Database

from diffusion.spec import PARAMETERS, UNetSpec
from memory.queries.ranking import Record
from memory.queries.records import Scope, Seen, seen_by, shown

LACKING = 40  # more than any two specs of equally many stages are apart
DISTANCE = (
    "sum over the numbers: |log2 of the ratio| for channels, blocks and multipliers, 1 for each other attn, "
    f"{LACKING} for each stage that one of them lacks"
)
REACHES = (1.2, math.inf)
"""Distances to look within until enough is found: first for one number halved, doubled or switched."""


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
    both = [(size, other.numbers[name]) for name, size in one.numbers.items() if name in other.numbers]
    sizes_end = 2 + min(one.stages, other.stages)
    apart = sum(math.log2(max(pair) / min(pair)) for pair in both[:sizes_end]) + sum(
        a != b for a, b in both[sizes_end:]
    )
    return apart + LACKING * abs(one.stages - other.stages)


def _nearest(db: Database, seen: Seen, spec: UNetSpec, reach: float, limit: int) -> list[Record]:
    """The nearest trials, as rows with their `distance`, among all that are no farther than `reach` and some that are.

    Plain bounds leave out most of the others: they take less than logarithms.
    """
    sizes, flags = list(spec.numbers)[: 2 + spec.stages], list(spec.numbers)[2 + spec.stages :]
    sizes_apart = " + ".join(f"coalesce(abs(log2(1.0 * seen.{name} / :{name})), {LACKING})" for name in sizes)
    flags_apart = " + ".join(f"coalesce(seen.{name} <> :{name}, 0)" for name in flags)
    more = [f"(seen.{name} IS NOT NULL)" for name in PARAMETERS if name.startswith("mult_") and name not in sizes]
    more_apart = f" + {LACKING} * ({' + '.join(more)})" if more else ""
    bounds = [f"seen.{name} BETWEEN :{name} * :under AND :{name} * :over" for name in sizes]
    near = [*bounds, f"{flags_apart} <= :reach"] if math.isfinite(reach) else []
    rows = db.conn.execute(
        f"""
        SELECT found.*, near.distance AS distance FROM (
            SELECT seen.trial AS trial, round({sizes_apart} + {flags_apart}{more_apart}, 4) AS distance
            FROM standings AS seen WHERE {" AND ".join([*near, seen.where])}
            ORDER BY distance, seen.trial LIMIT :limit
        ) AS near CROSS JOIN all_results AS found ON found.trial = near.trial AND found.protocol = :protocol
        ORDER BY near.distance, near.trial
        """,
        {**seen.values, **spec.numbers, "reach": reach, "under": 2.0**-reach, "over": 2.0**reach, "limit": limit},
    )
    return [dict(row) for row in rows]


def _compared(spec: UNetSpec, record: Record) -> Record:
    other = UNetSpec.parse(record["spec"])
    differs = {
        name: {"asked": spec.numbers.get(name), "here": other.numbers.get(name)}
        for name in PARAMETERS
        if spec.numbers.get(name) != other.numbers.get(name)
    }
    distance = round(spec_distance(spec, other), 4)
    return {**shown(record), "distance": distance, "distance_is": DISTANCE, "differs_in": differs}


def _know_log2(conn: sqlite3.Connection) -> None:
    """SQLite may have been built without its mathematical functions."""
    try:
        conn.execute("SELECT log2(1)")
    except sqlite3.OperationalError:
        conn.create_function("log2", 1, math.log2, deterministic=True)
