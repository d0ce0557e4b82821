import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from plain_queries import best_of, better, is_score, pareto_front, ranked

NO_SCORES = (None, math.nan, math.inf, -math.inf, True, "1.0")
scores = st.one_of(st.none(), st.just(math.nan), st.integers(0, 5).map(float))
records = st.lists(st.fixed_dictionaries({"cost": st.integers(1, 6), "rfid": scores}), max_size=12)


def test_lower_is_better_and_no_score_loses_to_every_score() -> None:
    assert better(1.0, 2.0)
    assert not better(2.0, 2.0)
    for nothing in NO_SCORES:
        assert not is_score(nothing)
        assert better(1e300, nothing)
        assert not better(nothing, 1e300)
        assert not better(nothing, None)


def test_the_best_of_nothing_is_none() -> None:
    assert best_of([None, math.nan]) is None
    assert best_of([None, 3.0, math.nan, 2.0]) == 2.0


def test_equal_scores_keep_their_order_and_missing_ones_come_last() -> None:
    rows: list[dict[str, Any]] = [
        {"id": 1, "rfid": None},
        {"id": 2, "rfid": 2.0},
        {"id": 3, "rfid": 1.0},
        {"id": 4, "rfid": 2.0},
    ]
    assert [row["id"] for row in ranked(rows)] == [3, 2, 4, 1]


def dominated(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """The definition: the other is nowhere worse and somewhere better."""
    no_worse = other["cost"] <= one["cost"] and other["rfid"] <= one["rfid"]
    return no_worse and (other["cost"], other["rfid"]) != (one["cost"], one["rfid"])


@given(records)
def test_the_pareto_front_is_what_the_definition_leaves(rows: list[dict[str, Any]]) -> None:
    numbered = [{**row, "id": index} for index, row in enumerate(rows)]
    measured = [row for row in numbered if is_score(row["rfid"])]
    wanted = {row["id"] for row in measured if not any(dominated(row, other) for other in measured)}
    front = pareto_front(numbered, "cost")
    assert {row["id"] for row in front} == wanted
    assert [row["cost"] for row in front] == sorted(row["cost"] for row in front)
