"""What a number of a spec, or the width of a stage, seems to do: pairs that differ in nothing else, scores by value.

Channels are base × multiplier, so what a base channel or a multiplier does depends on the other: widths, blocks and
attention are what a network is, and pairs that differ in one of them share all the others, whatever their spelling. A
mean by value is over trials that differ in much else, so it is marked as confounded.
"""

from collections import defaultdict
from collections.abc import Iterable
from functools import reduce
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

from sqlite_utils import Database

from diffusion.errors import UserError
from diffusion.spec import MOST_STAGES, PARAMETERS
from memory.queries.ranking import ANY_SCORE, Record
from memory.queries.records import Scope, Seen, seen_by
from memory.schema.standings import WIDTHS, width
from memory.searches import find_protocol

MOST_PAIRED = 10_000
"""Trials that are looked through for pairs, the latest ones: there may be more pairs than trials."""

MOST_PAIRS = 100
"""Pairs that are named of two values, the first ones; all count."""

ATTENTION = tuple(f"attn_{stage}" for stage in range(MOST_STAGES))
NETWORK = (*WIDTHS, "num_blocks", *ATTENTION)
"""What a network is, whatever its spelling."""

TOLD = (*NETWORK, *(name for name in PARAMETERS if name not in NETWORK))
"""What an effect is told of: what a network is, and the numbers of its spelling."""

SQL = {name: f"seen.{name}" for name in PARAMETERS} | {name: width(stage, "seen") for stage, name in enumerate(WIDTHS)}
HEAD_WIDTH = "min(seen.base_channel & -seen.base_channel, 32)"  # as `diffusion.networks.head_width`

TOGETHER = ((("num_blocks", *ATTENTION), 16), (WIDTHS[:3], 1 << 14), (WIDTHS[3:], 1 << 14))
"""Names whose values are few enough together that one pass over the trials serves them all, and more than any value."""


class Mean(NamedTuple):
    """The scores of the trials that have a name at one value, whatever else differs between them."""

    value: int
    trials: int
    mean: float


def effect(
    db: Database, search: int, parameter: str, *, scope: Scope = "search", protocol: str | None = None
) -> list[Record]:
    """What one of the numbers, or the width of a stage, seems to do.

    Rows of kind ``pair`` come first: they compare the trials that differ in this alone, by the mean of (score at
    ``to``) − (score at ``from``), below zero where ``to`` is better. Rows of kind ``value`` give the scored trials that
    have each value, and are ``confounded``: those trials differ in other things as well.

    Raises:
        UserError: nothing of a spec has that name.
    """
    if parameter not in TOLD:
        raise UserError(f"'{parameter}' is not a number of a spec or the width of a stage; ask for {', '.join(TOLD)}")
    seen = seen_by(db, search, scope, protocol)
    return _paired(db, seen, parameter) + _by_value(db, seen, parameter)


def means(db: Database, search: int, scope: Scope = "search") -> dict[str, list[Mean]]:
    """For each width, the blocks and each attention the mean score of the trials by its value, ascending."""
    seen = seen_by(db, search, scope, None)
    found: dict[str, dict[int, list[tuple[int, float]]]] = {name: defaultdict(list) for name in NETWORK}
    for names, beyond in TOGETHER:
        columns = ", ".join(f"{SQL[name]} AS {name}" for name in names)
        one = reduce(lambda key, each: f"({key}) * {beyond} + {each}", [f"coalesce({SQL[name]}, -1)" for name in names])
        rows = db.conn.execute(  # a group of one number sorts faster than one of many
            f"SELECT {columns}, count(*) AS count, sum(rfid) AS total FROM standings AS seen"
            f" WHERE {seen.where} AND {ANY_SCORE} GROUP BY {one}",
            seen.values,
        )
        for row in rows:
            for name in names:
                if row[name] is not None:  # a spec of fewer stages says nothing of it
                    found[name][row[name]].append((row["count"], row["total"]))
    return {name: [_mean(value, parts) for value, parts in sorted(values.items())] for name, values in found.items()}


def _mean(value: int, parts: Iterable[tuple[int, float]]) -> Mean:
    counts, totals = zip(*parts, strict=True)
    return Mean(value, sum(counts), sum(totals) / sum(counts))


def _by_value(db: Database, seen: Seen, parameter: str) -> list[Record]:
    one = SQL[parameter]
    rows = db.conn.execute(
        f"""
        SELECT 'value' AS kind, '{parameter}' AS parameter, value, count, mean, best, (
            SELECT min(trial) FROM standings AS seen INDEXED BY {seen.by_score}
            WHERE {seen.where} AND seen.rfid = best AND {one} = value
        ) AS best_trial FROM (
            SELECT {one} AS value, count(*) AS count, avg(rfid) AS mean, min(rfid) AS best
            FROM standings AS seen WHERE {seen.where} AND {ANY_SCORE} AND {one} IS NOT NULL GROUP BY {one}
        ) ORDER BY value
        """,
        seen.values,
    )
    return [{**dict(row), "confounded": True} for row in rows]


def _paired(db: Database, seen: Seen, parameter: str) -> list[Record]:
    """Differences between trials that share everything but the parameter, their seed and family included."""
    cursor = db.conn.cursor()
    cursor.row_factory = None  # plain tuples
    latest = cursor.execute(
        f"SELECT {SQL[parameter]} AS value, trial, rfid, {', '.join(_shared(db, seen, parameter))}"
        f" FROM standings AS seen WHERE {seen.where} AND {ANY_SCORE} AND value IS NOT NULL"
        f" ORDER BY trial DESC LIMIT {MOST_PAIRED}",
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


def _shared(db: Database, seen: Seen, parameter: str) -> list[str]:
    """What two trials of a pair have in common, in SQL: the rest of the network, or of its spelling; the seed."""
    if parameter not in NETWORK:
        return [SQL[name] for name in PARAMETERS if name != parameter] + ["seed"]
    family = find_protocol(db, seen.values["protocol"]).settings.family
    return [SQL[name] for name in NETWORK if name != parameter] + ["seed", *([HEAD_WIDTH] if family == "iddpm" else [])]
