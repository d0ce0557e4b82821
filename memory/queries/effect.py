"""What one of the ten numbers seems to do: scores by its values, and pairs of trials that differ in nothing else."""

from collections import defaultdict
from collections.abc import Iterable
from functools import reduce
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

from sqlite_utils import Database

from diffusion.errors import UserError
from diffusion.spec import PAPER_PARAMETERS
from memory.queries.ranking import ANY_SCORE, Record
from memory.queries.records import Scope, Seen, seen_by

MOST_PAIRED = 10_000
"""Trials that are looked through for pairs, the latest ones: there may be more pairs than trials."""

MOST_PAIRS = 100
"""Pairs that are named of two values, the first ones; all count."""

TOGETHER = (PAPER_PARAMETERS[:2], PAPER_PARAMETERS[2:6], PAPER_PARAMETERS[6:])
"""Numbers whose values are few enough together that one pass over the trials serves them all."""


class Mean(NamedTuple):
    """The scores of the trials that have a number at one value."""

    value: int
    trials: int
    mean: float


def effect(
    db: Database, search: int, parameter: str, *, scope: Scope = "search", protocol: str | None = None
) -> list[Record]:
    """What one of the ten numbers seems to do.

    Rows of kind ``value`` give the scored trials that have each value; rows of kind ``pair`` compare the trials that
    differ in this number alone: the mean of (score at ``to``) − (score at ``from``), below zero where ``to`` is better.
    """
    if parameter not in PAPER_PARAMETERS:
        raise UserError(f"'{parameter}' is not one of the ten numbers; ask for {', '.join(PAPER_PARAMETERS)}")
    seen = seen_by(db, search, scope, protocol)
    return _by_value(db, seen, parameter) + _paired(db, seen, parameter)


def means(db: Database, search: int) -> dict[str, list[Mean]]:
    """For each of the ten numbers the mean score of a search's trials by its value, ascending."""
    seen = seen_by(db, search, "search", None)
    found: dict[str, dict[int, list[tuple[int, float]]]] = {name: defaultdict(list) for name in PAPER_PARAMETERS}
    for names in TOGETHER:
        one = reduce(lambda key, name: f"({key}) * 2048 + {name}", names)  # sorts faster than all; each is at most 1024
        rows = db.conn.execute(
            f"SELECT {', '.join(names)}, count(*) AS count, sum(rfid) AS total FROM standings AS seen"
            f" WHERE {seen.where} AND {ANY_SCORE} GROUP BY {one}",
            seen.values,
        )
        for row in rows:
            for name in names:
                found[name][row[name]].append((row["count"], row["total"]))
    return {name: [_mean(value, parts) for value, parts in sorted(values.items())] for name, values in found.items()}


def _mean(value: int, parts: Iterable[tuple[int, float]]) -> Mean:
    counts, totals = zip(*parts, strict=True)
    return Mean(value, sum(counts), sum(totals) / sum(counts))


def _by_value(db: Database, seen: Seen, parameter: str) -> list[Record]:
    rows = db.conn.execute(
        f"""
        SELECT 'value' AS kind, '{parameter}' AS parameter, value, count, mean, best, (
            SELECT min(trial) FROM standings AS seen INDEXED BY {seen.by_score}
            WHERE {seen.where} AND seen.rfid = best AND seen.{parameter} = value
        ) AS best_trial FROM (
            SELECT {parameter} AS value, count(*) AS count, avg(rfid) AS mean, min(rfid) AS best
            FROM standings AS seen WHERE {seen.where} AND {ANY_SCORE} GROUP BY {parameter}
        ) ORDER BY value
        """,
        seen.values,
    )
    return [dict(row) for row in rows]


def _paired(db: Database, seen: Seen, parameter: str) -> list[Record]:
    """Differences between trials that share everything but the parameter, their seed and family included."""
    shared = ", ".join(name for name in (*PAPER_PARAMETERS, "seed") if name != parameter)
    cursor = db.conn.cursor()
    cursor.row_factory = None  # plain tuples
    latest = cursor.execute(
        f"SELECT {parameter}, trial, rfid, {shared} FROM standings AS seen"
        f" WHERE {seen.where} AND {ANY_SCORE} ORDER BY trial DESC LIMIT {MOST_PAIRED}",
        seen.values,
    ).fetchall()
    groups: dict[tuple[int, ...], list[tuple[int, int, float]]] = defaultdict(list)
    for value, trial, score, *rest in reversed(latest):
        groups[tuple(rest)].append((value, trial, score))
    pairs: dict[tuple[int, int], list[Record]] = defaultdict(list)
    for group in groups.values():
        for (low, one, before), (high, other, after) in combinations(sorted(group), 2):
            if low != high:
                pairs[low, high].append({"trials": [one, other], "difference": after - before})
    return [
        {
            "kind": "pair",
            "parameter": parameter,
            "from": low,
            "to": high,
            "count": len(found),
            "mean_difference": fmean(pair["difference"] for pair in found),
            "pairs": found[:MOST_PAIRS],
        }
        for (low, high), found in sorted(pairs.items())
    ]
