"""A fork: the first rounds of a search, shared, and nothing after."""

from typing import Any

import pytest

from diffusion.errors import UserError
from memory.directives import active_directives, add_directive
from memory.forks import Fork, fork_of, fork_search, free_fork_name
from memory.ledger import Ledger, charge, totals
from memory.queries.records import best
from memory.searches import find_search
from tools.gates.directive_kinds import LASTING

SPECS = [f"b{width}-n1-m1.2.2.2-a0100" for width in (8, 12, 16, 20, 24)]


@pytest.fixture
def parent(fill: Any) -> int:
    search: int = fill.search(name="first")
    for number, spec in enumerate(SPECS):
        fill.refuse(search, number)
        fill.scored(search, number, spec, 5.0 - number)
    charge(fill.db, search, "wall", wall_seconds=10.0)
    return search


def forked(fill: Any, parent: int, at: int, name: str = "second") -> int:
    found = find_search(fill.db, parent)
    return fork_search(
        fill.db, found, at, name=name, backend="openai:other", config={"llm": "openai:other"}, lasting=LASTING
    )


def test_a_fork_shares_the_first_rounds_and_nothing_after(fill: Any, parent: int) -> None:
    search = forked(fill, parent, 3)
    columns = "SELECT round, spec, rfid, training FROM results"
    assert fill.rows(f"{columns} WHERE search = {search} ORDER BY round") == fill.rows(
        f"{columns} WHERE search = {parent} AND round <= 3 ORDER BY round"
    )
    assert fill.rows(f"SELECT max(round), count(*) FROM proposals WHERE search = {search}") == [(3, 8)]
    assert fork_of(fill.db, search) == Fork(search, parent, 3)
    assert fork_of(fill.db, parent) is None


def test_nothing_is_measured_again_and_nothing_is_charged(fill: Any, parent: int) -> None:
    before = fill.rows("SELECT count(*) FROM trainings"), fill.rows("SELECT count(*) FROM scores")
    search = forked(fill, parent, 3)
    assert (fill.rows("SELECT count(*) FROM trainings"), fill.rows("SELECT count(*) FROM scores")) == before
    assert totals(fill.db, search) == Ledger()
    assert totals(fill.db, parent).wall_seconds == 10.0


def test_what_the_original_does_later_stays_its_own(fill: Any, parent: int) -> None:
    search = forked(fill, parent, 3)
    fill.scored(parent, 5, "b28-n1-m1.2.2.2-a0100", 0.1)
    assert [row["round"] for row in best(fill.db, search)] == [3, 2, 1, 0]


def test_it_can_be_resumed_with_the_other_model(fill: Any, parent: int) -> None:
    found = find_search(fill.db, forked(fill, parent, 3))
    assert (found.state, found.backend, found.reason) == (
        "interrupted",
        "openai:other",
        "a fork of first after round 3",
    )
    assert found.rounds == find_search(fill.db, parent).rounds


def test_directives_that_held_hold_and_what_was_said_once_does_not(fill: Any, parent: int) -> None:
    fill.db.conn.execute("UPDATE trials SET finished = '2999-01-01T00:00:00+00:00' WHERE round = 3")
    add_directive(fill.db, parent, "mode", {"mode": "explore"}, "explore more")
    add_directive(fill.db, parent, "pause", {}, "pause")
    assert [found.text for found in active_directives(fill.db, forked(fill, parent, 3))] == ["explore more"]
    assert active_directives(fill.db, forked(fill, parent, 2, "third")) == []


def test_a_round_that_is_not_over_cannot_be_shared(fill: Any, parent: int) -> None:
    with pytest.raises(UserError, match=r"^--at 7: round 5 of first is not over; take --at 4 or less$"):
        forked(fill, parent, 7)
    assert fill.rows("SELECT count(*) FROM searches") == [(1,)]


def test_a_free_name_is_found(fill: Any, parent: int) -> None:
    assert free_fork_name(fill.db, "first", 3) == "first-at-3"
    forked(fill, parent, 3, "first-at-3")
    assert free_fork_name(fill.db, "first", 3) == "first-at-3-2"
