"""Which score is better, decided here and nowhere else: lower is, and no score loses to every score.

A score is a finite number; None, NaN and infinities are no score. Whether a difference means anything is not judged
here. Records are dictionaries with the score under ``rfid``.
"""

import math
from collections.abc import Iterable
from typing import Any, TypeGuard

Record = dict[str, Any]


def is_score(value: object) -> TypeGuard[float]:
    """Whether a value is a score at all."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def rank_key(value: object) -> tuple[bool, float]:
    """Sorts scores best first, and what is no score behind them."""
    return (False, float(value)) if is_score(value) else (True, 0.0)


def better(value: object, than: object) -> bool:
    """Whether the first is strictly better than the second."""
    return rank_key(value) < rank_key(than)


def best_of(values: Iterable[float | None]) -> float | None:
    """The best score among them, or None if none is a score."""
    return min((value for value in values if is_score(value)), key=rank_key, default=None)


def ranked(records: Iterable[Record]) -> list[Record]:
    """Best first; equal scores keep their order."""
    return sorted(records, key=lambda record: rank_key(record["rfid"]))


def pareto_front(records: Iterable[Record], cost: str) -> list[Record]:
    """The scored records that no other beats in score or cost without losing in the other, cheapest first."""
    front: list[Record] = []
    scored = [record for record in records if is_score(record["rfid"])]
    for record in sorted(scored, key=lambda record: (record[cost], rank_key(record["rfid"]))):
        same = front and (record[cost], record["rfid"]) == (front[-1][cost], front[-1]["rfid"])
        if not front or same or better(record["rfid"], front[-1]["rfid"]):
            front.append(record)
    return front
