"""What one of the ten numbers seems to do: scores by its values, and pairs of trials that differ in nothing else."""

from collections import defaultdict
from itertools import combinations
from statistics import fmean

from sqlite_utils import Database

from diffusion.errors import UserError
from diffusion.spec import PARAMETERS
from memory.queries.ranking import Record, best_of, is_score, ranked
from memory.queries.records import Scope, records_of


def effect(
    db: Database, search: int, parameter: str, *, scope: Scope = "search", protocol: str | None = None
) -> list[Record]:
    """What one of the ten numbers seems to do.

    Rows of kind ``value`` give the scored trials that have each value; rows of kind ``pair`` compare the trials that
    differ in this number alone: the mean of (score at ``to``) − (score at ``from``), below zero where ``to`` is better.
    """
    if parameter not in PARAMETERS:
        raise UserError(f"'{parameter}' is not one of the ten numbers; ask for {', '.join(PARAMETERS)}")
    scored = [record for record in records_of(db, search, scope, protocol) if is_score(record["rfid"])]
    return _by_value(scored, parameter) + _paired(scored, parameter)


def _by_value(scored: list[Record], parameter: str) -> list[Record]:
    groups: dict[int, list[Record]] = defaultdict(list)
    for record in scored:
        groups[record[parameter]].append(record)
    return [
        {
            "kind": "value",
            "parameter": parameter,
            "value": value,
            "count": len(group),
            "mean": fmean(record["rfid"] for record in group),
            "best": best_of(record["rfid"] for record in group),
            "best_trial": ranked(group)[0]["trial"],
        }
        for value, group in sorted(groups.items())
    ]


def _paired(scored: list[Record], parameter: str) -> list[Record]:
    """Differences between trials that share everything but the parameter, their seed and family included."""
    shared = [name for name in (*PARAMETERS, "seed") if name != parameter]
    groups: dict[tuple[int, ...], list[Record]] = defaultdict(list)
    for record in scored:
        groups[tuple(record[name] for name in shared)].append(record)
    pairs: dict[tuple[int, int], list[Record]] = defaultdict(list)
    for group in groups.values():
        for one, other in combinations(sorted(group, key=lambda record: record[parameter]), 2):
            if one[parameter] != other[parameter]:
                difference = {"trials": [one["trial"], other["trial"]], "difference": other["rfid"] - one["rfid"]}
                pairs[one[parameter], other[parameter]].append(difference)
    return [
        {
            "kind": "pair",
            "parameter": parameter,
            "from": low,
            "to": high,
            "count": len(found),
            "mean_difference": fmean(pair["difference"] for pair in found),
            "pairs": found,
        }
        for (low, high), found in sorted(pairs.items())
    ]
