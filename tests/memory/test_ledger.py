import sqlite3
from typing import Any

import pytest

from memory.ledger import Ledger, charge, totals


def test_totals_are_the_sums_of_one_search(fill: Any, search: int) -> None:
    other = fill.search()
    charge(fill.db, search, "train", device_seconds=30.0, wall_seconds=31.0)
    charge(fill.db, search, "score", device_seconds=2.5)
    charge(fill.db, search, "model", input_tokens=100, output_tokens=20, cost_usd=0.25)
    charge(fill.db, search, "wall", wall_seconds=40.0)
    charge(fill.db, other, "wall", wall_seconds=1000.0)
    assert totals(fill.db, search) == Ledger(
        device_seconds=32.5, wall_seconds=40.0, input_tokens=100, output_tokens=20, cost_usd=0.25
    )


def test_a_new_search_has_used_nothing(fill: Any, search: int) -> None:
    assert totals(fill.db, search) == Ledger()


def test_one_unknown_price_makes_the_sum_unknown(fill: Any, search: int) -> None:
    charge(fill.db, search, "model", cost_usd=0.25)
    charge(fill.db, search, "model", cost_usd=None)
    charge(fill.db, search, "model", cost_usd=0.25)
    assert totals(fill.db, search).cost_usd is None


def test_a_use_belongs_to_a_search_and_has_a_known_kind(fill: Any, search: int) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        charge(fill.db, 99, "train")
    with pytest.raises(sqlite3.IntegrityError):
        charge(fill.db, search, "coffee")  # type: ignore[arg-type]
