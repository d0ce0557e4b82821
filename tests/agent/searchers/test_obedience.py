"""Whoever proposes: budgets, limits and directives are obeyed from the first proposal on, and a kill changes nothing.

Through everything that a search goes through, but on a table, so that nothing is trained. What may be proposed is
counted here once more, spec by spec.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from bench import SPACE, planted_in, run_killed, search_on
from hypothesis import given, settings
from hypothesis import strategies as st
from searches import TinySearch

from agent.search import limits
from agent.searchers.centaur import is_models
from agent.searchers.registry import ENTRIES
from diffusion.cost.closed_form import Cost, cost
from diffusion.networks import network
from diffusion.spec import UNetSpec
from diffusion.unetbench.table import Table
from memory.connection import opened
from memory.directives import add_directive

EVERYTHING = list(SPACE)
PROPOSERS = {name: {name} for name in ENTRIES} | {"centaur": {"gp", "offline"}}
RESULTS = (
    "SELECT r.round, r.spec, r.rfid, r.proposer, r.reason FROM results r JOIN searches s ON s.id = r.search"
    " WHERE s.id = ? ORDER BY r.round"
)
NUMBERS = {name: values for name, values in SPACE.choices.items() if len(values) > 1}
COSTS: dict[str, Callable[[Cost], int]] = {
    "params": lambda found: found.params,
    "macs_paper": lambda found: found.macs.paper,
    "macs_total": lambda found: found.macs.total,
}


@cache
def cost_of(spec: UNetSpec) -> Cost:
    return cost(spec, "ddpm", 8, 1)


@dataclass(frozen=True)
class Told:
    """A directive, the round after which it is told, and what it means."""

    kind: str
    arguments: dict[str, Any]
    after: int
    allows: Callable[[UNetSpec], bool] = field(compare=False)


@dataclass(frozen=True)
class Asked:
    """A search as it is asked for."""

    baseline: UNetSpec
    seed: int
    rounds: int
    budget: int
    max_params: int | None
    told: tuple[Told, ...]

    def may_be(self, spec: UNetSpec, round_number: int) -> bool:
        """Whether a spec may be proposed in a round, if it is new."""
        found, most = cost_of(spec), self.max_params
        within = found.macs.paper <= self.budget and (most is None or found.params <= most)
        return within and all(each.allows(spec) for each in self.told if each.after < round_number)

    def opened(self, folder: Path, table: Table, searcher: str) -> TinySearch:
        options = {"baseline": str(self.baseline), "budget": self.budget, "max_params": self.max_params}
        options |= {"seed": self.seed, "rounds": self.rounds, "searcher": searcher, "centaur_share": 0.5}
        search = search_on(folder, table, **options)
        limits.check(search.plan)
        with opened(search.db) as db:
            limits.keep(db, search.search, search.plan.config)
        return search

    def tell(self, search: TinySearch, after: int) -> None:
        """What is told after a round."""
        with opened(search.db) as db:
            for number, each in enumerate(self.told):
                if each.after == after:
                    add_directive(db, search.search, each.kind, each.arguments, "", key=str(number))

    def run(self, search: TinySearch) -> str:
        """Play it; a directive is told at the end of its round."""
        make = search.make_context
        search.make_context = lambda number, proposer: make(number, proposer).watched(
            "round.finished", lambda: self.tell(search, number)
        )
        return search.run()


def directive(draw: st.DrawFn, rounds: int) -> Told:
    """One of four kinds, told after a round."""
    after, kind = draw(st.integers(0, rounds)), draw(st.sampled_from(("freeze", "restrict", "ban", "cap")))
    if kind == "cap":
        what = draw(st.sampled_from(sorted(COSTS)))
        most = COSTS[what](cost_of(draw(st.sampled_from(EVERYTHING))))
        return Told(kind, {"what": what, "at_most": most}, after, lambda spec: COSTS[what](cost_of(spec)) <= most)
    name = draw(st.sampled_from(sorted(NUMBERS)))
    value = draw(st.sampled_from(NUMBERS[name]))
    if kind == "freeze":
        arguments: dict[str, Any] = {"parameter": name, "value": value}
        return Told(kind, arguments, after, lambda spec: spec.numbers[name] == value)
    if kind == "restrict":
        values = draw(st.lists(st.sampled_from(NUMBERS[name]), min_size=1, unique=True))
        arguments = {"parameter": name, "values": values}
        return Told(kind, arguments, after, lambda spec: spec.numbers[name] in values)
    blocks, width = draw(st.sampled_from(NUMBERS["num_blocks"])), draw(st.sampled_from(NUMBERS["base_channel"]))
    pattern = f"b{width}-n{blocks}-m*.*.*.*-a****"
    return Told(kind, {"pattern": pattern}, after, lambda spec: (spec.base_channel, spec.num_blocks) != (width, blocks))


@st.composite
def searches(draw: st.DrawFn, most_rounds: int) -> Asked:
    """A search whose baseline is within the budget and the limits."""
    baseline, rounds = draw(st.sampled_from(EVERYTHING)), draw(st.integers(most_rounds // 2, most_rounds))
    known = cost_of(baseline)
    budget = draw(st.sampled_from(sorted({each for spec in EVERYTHING if (each := cost_of(spec).macs.paper)})))
    most = draw(st.none() | st.sampled_from(sorted({cost_of(spec).params for spec in EVERYTHING})))
    return Asked(
        baseline=baseline,
        seed=draw(st.integers(0, 2**31)),
        rounds=rounds,
        budget=max(budget, known.macs.paper),
        max_params=None if most is None else max(most, known.params),
        told=tuple(directive(draw, rounds) for _ in range(draw(st.integers(0, 2)))),
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    with pytest.MonkeyPatch.context() as patch:
        yield planted_in(tmp_path_factory.mktemp("tables"), patch)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Empty folders, one after the other."""
    return (tmp_path_factory.mktemp(f"search{number}") for number in count())


def check(asked: Asked, rows: list[dict[str, Any]], *, is_complete: bool) -> None:
    """Each round has a trial of what may be proposed in it and is new, and where nothing is left the search is over."""
    tried = {network(asked.baseline, "ddpm")}
    assert rows[0]["spec"] == str(asked.baseline)
    for number, row in enumerate(rows[1:], 1):
        spec = UNetSpec.parse(row["spec"])
        assert row["round"] == number
        assert SPACE.why_not(spec) is None and asked.may_be(spec, number), row
        assert network(spec, "ddpm") not in tried
        tried.add(network(spec, "ddpm"))
    if is_complete and (number := len(rows)) <= asked.rounds:
        left = [spec for spec in EVERYTHING if network(spec, "ddpm") not in tried and asked.may_be(spec, number)]
        assert not left


def play(searcher: str, asked: Asked, table: Table, folders: Iterator[Path]) -> None:
    alone, killed = (asked.opened(next(folders), table, searcher) for _ in range(2))
    reason = asked.run(alone)
    rows = alone.rows(RESULTS, alone.search)
    is_model = searcher == "llm"  # which may end a search, and counts what is too dear
    check(asked, rows, is_complete=not is_model)
    if not is_model:
        assert {row["proposer"] for row in rows[1:]} <= PROPOSERS[searcher]
        assert not alone.rows("SELECT * FROM proposals WHERE accepted = 0")
    assert run_killed(killed, each_round=lambda number: asked.tell(killed, number)) == reason
    assert killed.rows(RESULTS, killed.search) == rows


@pytest.mark.parametrize("searcher", [*(name for name in PROPOSERS if name != "nag"), "llm"])  # it generates: see below
@given(data=st.data())
@settings(max_examples=3, deadline=None, derandomize=True)
def test_limits_are_obeyed_nothing_is_repeated_and_a_kill_changes_nothing(
    searcher: str, table: Table, folders: Iterator[Path], data: st.DataObject
) -> None:
    play(searcher, data.draw(searches(8)), table, folders)


@pytest.mark.slow
@pytest.mark.parametrize("searcher", [*PROPOSERS, "llm"])
@given(data=st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_so_it_is_over_many_searches_to_the_end_of_the_space(
    searcher: str, table: Table, folders: Iterator[Path], data: st.DataObject
) -> None:
    play(searcher, data.draw(searches(26)), table, folders)


def test_where_nothing_is_left_no_model_is_asked(table: Table, folders: Iterator[Path]) -> None:
    """The budget leaves the baseline alone, and the first round of this seed is the model's."""
    assert is_models(1, 1, 0.5)
    baseline = min(EVERYTHING, key=lambda spec: cost_of(spec).macs.paper)
    asked = Asked(baseline, seed=1, rounds=8, budget=cost_of(baseline).macs.paper, max_params=None, told=())
    play("centaur", asked, table, folders)
