"""``--max-params``, ``--max-memory``, ``--max-latency``: kept from the first proposal on, or said to be impossible."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pretended import PretendedExecutor
from searches import TINY, TinySearch

from agent.config.sources import resolve
from agent.search import limits
from agent.search.begin import go_on, open_run
from agent.search.plan import Plan, plan
from agent.searchers.model.digest import round_values
from agent.searchers.registry import ENTRIES
from diffusion.errors import UserError
from diffusion.spec import UNetSpec
from memory.connection import opened
from memory.directives import active_directives
from prompts.render import render
from tools.errors import Refused
from tools.gates.facts import Facts
from tools.jobs.training import train_candidate

CAPPED = {"max_params": 60_000, "max_memory": "600M", "max_latency": 1e6}


def planned(folder: Path, **options: Any) -> Plan:
    return plan(resolve({**TINY, "db": folder / "diffnas.db", "out": folder / "runs", **options}).config)


def opened_search(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> TinySearch:
    """A search that is opened as `run` opens it."""
    monkeypatch.setattr("searches.open_search", open_run)
    return TinySearch(folder, options)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Latencies that are made up: a millisecond for each million MACs, unless a test says otherwise."""
    known: dict[str, float] = {}

    def measured(spec: UNetSpec, settings: Any, share: Any) -> tuple[float, int]:
        from diffusion.cost.closed_form import cost

        return known.get(str(spec), cost(spec, "ddpm", 8, 1).macs.total / 1e6), 1

    monkeypatch.setattr(limits, "measured_ms", measured)
    return known


def said(refused: pytest.ExceptionInfo[UserError]) -> str:
    return str(refused.value)


def test_each_becomes_a_directive_in_memory_and_in_the_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: dict[str, float]
) -> None:
    search = opened_search(tmp_path, monkeypatch, **CAPPED)
    with opened(search.db) as db:
        active = active_directives(db, search.search)
        text = render("round", **round_values(db, search.context(1)))
    assert [(each.kind, each.arguments["what"], each.author) for each in active] == [
        ("cap", "params", "option"), ("cap", "memory_bytes", "option"), ("cap", "latency_ms", "option"),
    ]  # fmt: skip
    for words in ("at most 60K params", "at most 600M bytes of memory in training", "at most 1e+06 ms for one image"):
        assert words in text


def test_without_one_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = opened_search(tmp_path, monkeypatch)
    with opened(search.db) as db:
        assert active_directives(db, search.search) == []


@pytest.mark.parametrize("searcher", [*ENTRIES, "centaur", "llm"])
def test_it_holds_for_whoever_proposes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, searcher: str) -> None:
    most = 60_000
    search = opened_search(tmp_path, monkeypatch, max_params=most, searcher=searcher, rounds=6, parallel=1)
    assert search.run() in ("rounds", "space_exhausted")
    rows = search.rows("SELECT params, proposer FROM results WHERE round > 0")
    assert len(rows) >= 4 and all(row["params"] <= most for row in rows)


def test_it_holds_for_a_proposal_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = opened_search(tmp_path, monkeypatch, max_params=60_000)
    with pytest.raises(Refused, match="60K params"):
        train_candidate(search.context(1), UNetSpec.parse("b16-n1-m1.1.1.1-a0000"), "wider")


class TestBaseline:
    def nearest(self, found: Plan, fits: Any) -> UNetSpec:
        """By looking at each network of the space."""
        facts: Facts = limits.facts_of_plan(found)
        apart = limits.distances(facts.rows, found.baseline)
        left = fits(facts) & facts.within_budget
        return UNetSpec.from_row(facts.rows[np.flatnonzero(left)[np.argmin(apart[left])]])

    @pytest.mark.parametrize(
        ("option", "value", "words"),
        [
            ("max_params", 40_000, r"has [\d.]+K params"),
            ("max_memory", None, r"has [\d.]+M bytes of memory in training"),
        ],
    )
    def test_over_a_limit_it_is_refused_with_the_value_and_the_nearest_that_fits(
        self, tmp_path: Path, option: str, value: int | None, words: str
    ) -> None:
        free = planned(tmp_path, baseline="b16-n2-m1.1.1.1-a0000", budget="1G")
        facts = limits.facts_of_plan(free)
        row = np.array([free.baseline.row])
        value = value or int(facts.memory_bytes(row)[0]) - 1
        found = planned(tmp_path, baseline="b16-n2-m1.1.1.1-a0000", budget="1G", **{option: value})
        with pytest.raises(UserError, match=words) as refused, opened(tmp_path / "diffnas.db") as db:
            open_run(db, found)
        near = self.nearest(
            found,
            lambda facts: (
                facts.costs(facts.rows).params if option == "max_params" else facts.memory_bytes(facts.rows)
            ) <= value,
        )  # fmt: skip
        flag = "--max-params 40K" if option == "max_params" else f"--max-memory {value}"
        assert said(refused).startswith(f"{flag}: the baseline b16-n2-m1.1.1.1-a0000 has ")
        assert said(refused).endswith(f"; take --baseline {near}, the nearest that fits")
        with opened(tmp_path / "diffnas.db") as db:
            assert not db.conn.execute("SELECT 1 FROM searches").fetchall()
        planned_again = planned(tmp_path, baseline=str(near), budget="1G", **{option: value})
        limits.check(planned_again)

    def test_too_slow_it_is_refused_with_the_milliseconds(self, tmp_path: Path, quick: dict[str, float]) -> None:
        found = planned(tmp_path, baseline="b8-n2-m1.1.1.1-a0000", max_latency=4)
        quick["b8-n2-m1.1.1.1-a0000"] = 5.25
        with pytest.raises(UserError) as refused:
            limits.check(found)
        assert said(refused).startswith("--max-latency 4: the baseline b8-n2-m1.1.1.1-a0000 has 5.25 ms for one image")
        assert "; take --baseline b8-n1-m" in said(refused)

    def test_where_no_measured_spec_is_fast_enough_none_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "measured_ms", lambda spec, settings, share: (9.0, 1))
        with pytest.raises(UserError) as refused:
            limits.check(planned(tmp_path, max_latency=4))
        assert said(refused).endswith("; raise it, or name a smaller --baseline")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_params": 100}, r"--max-params 100 leaves no spec of the space digits-8: the smallest, b8-\S+, has "),
        ({"max_memory": 100}, r"--max-memory 100 leaves no spec of the space digits-8: the smallest, b8-\S+, has "),
    ],
    ids=str,
)
def test_an_empty_space_names_the_limit_and_the_smallest_spec(
    tmp_path: Path, options: dict[str, int], words: str
) -> None:
    with pytest.raises(UserError, match=f"^{words}"), opened(tmp_path / "diffnas.db") as db:
        open_run(db, planned(tmp_path, **options))


def test_nothing_is_trained_before_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(PretendedExecutor, "train", never)
    with pytest.raises(UserError, match=r"^--max-params 100 "):
        opened_search(tmp_path, monkeypatch, max_params=100)


def test_going_on_keeps_them_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = opened_search(tmp_path, monkeypatch, max_params=60_000, name="capped")
    driven = []
    monkeypatch.setattr("agent.search.begin.resumed", lambda found: lambda *given, **_: driven.append(given) or 0)
    for _ in range(2):
        assert go_on(search.db, "capped", {}, as_json=False) == 0
    assert len(driven) == 2 and driven[0][1].config.search.max_params == 60_000
    with opened(search.db) as db:
        limits.keep(db, search.search, search.plan.config)  # as a process would that was killed just before
        assert [each.kind for each in active_directives(db, search.search)] == ["cap"]
