"""The embedded defaults' backend: a deterministic local search through the very same agent, prompts and tools."""

from pathlib import Path

import pytest
from near import near
from planted import Planted
from searches import TinySearch

from agent.searchers.model.fallback import fallback_spec
from diffusion.space import built_in
from diffusion.spec import UNetSpec
from memory.connection import opened
from memory.queries.progress import proposer_shares
from tools.gates.specs import over_budget


def test_the_offline_backend_searches_locally_under_the_budget(tmp_path: Path) -> None:
    search = TinySearch(tmp_path, {"rounds": 4, "searcher": "llm"})
    assert search.run() == "rounds"
    rows = search.rows("SELECT * FROM results ORDER BY round")
    assert [row["proposer"] for row in rows] == ["baseline", *["offline"] * 4]
    assert all(row["macs_paper"] <= 2_000_000 for row in rows)
    assert len({row["spec"] for row in rows}) == 5
    for index, row in enumerate(rows[1:], 1):
        earlier = sorted(rows[:index], key=lambda found: found["rfid"])[:2]
        around = [spec for parent in earlier for spec in near(built_in("digits-8"), UNetSpec.parse(parent["spec"]))]
        assert UNetSpec.parse(row["spec"]) in around
        assert row["reason"].startswith("One step from trial ")


def test_the_same_seed_gives_the_same_search_and_another_seed_another(tmp_path: Path) -> None:
    def specs(name: str, seed: int) -> list[str]:
        (tmp_path / name).mkdir()
        search = TinySearch(tmp_path / name, {"seed": seed})
        search.run()
        return search.executor.trained

    first = specs("one", 0)
    assert first == specs("two", 0) != specs("three", 1)


def test_the_order_in_which_neighbours_are_tried_is_the_known_one(tmp_path: Path) -> None:
    """Recorded when each proposer had a walk of its own; a search that is resumed goes on as it began."""
    search = TinySearch(
        tmp_path, {"rounds": 6, "searcher": "llm"}, executor=Planted((90.0, 92.0, 95.0, 80.0, 85.0, 99.0))
    )
    search.run()
    assert search.executor.specs[1:] == [
        "b8-n1-m1.2.1.1-a0000", "b8-n1-m1.2.2.1-a0000", "b8-n2-m1.2.1.1-a0000", "b8-n1-m1.3.1.1-a0000",
        "b8-n1-m1.3.2.1-a0000", "b8-n1-m1.3.1.1-a0001",
    ]  # fmt: skip
    chosen = [found[0] for number in (7, 8, 9) if (found := fallback_spec(search.context(number)))]
    assert [str(spec) for spec in chosen] == ["b8-n2-m1.3.1.1-a0000", "b8-n1-m1.3.1.1-a0010", "b8-n1-m1.3.1.1-a0010"]


def test_without_a_model_a_spec_of_a_huge_space_comes_from_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = TinySearch(tmp_path, {"memory": "none"})
    monkeypatch.setattr("diffusion.space.ENUMERABLE", 1_000)
    context = search.context(1)
    assert not context.limits.space.is_enumerable
    chosen = fallback_spec(context)
    assert chosen is not None and chosen == fallback_spec(search.context(1))
    assert chosen[1] == "A random feasible spec: no trial is told."
    assert over_budget(context, chosen[0]) is None and context.limits.space.why_not(chosen[0]) is None


def test_a_search_repeats_no_training_that_the_memory_holds(tmp_path: Path) -> None:
    TinySearch(tmp_path, {"name": "first"}).run()
    second = TinySearch(tmp_path, {"name": "second"})
    second.run()
    assert second.executor.trained == []
    assert second.executor.evaluated == 0
    assert [event["cached"] for event in second.of("trial.started")] == [True] * 4
    assert second.of("search.finished")[0]["ledger"]["device_seconds"] == 0


def test_a_training_whose_weights_are_gone_is_trained_anew_unless_its_score_is_known(tmp_path: Path) -> None:
    TinySearch(tmp_path, {"name": "first", "rounds": 0}).run()
    assert not list(tmp_path.rglob("*.safetensors"))  # what is pretended leaves none
    same = TinySearch(tmp_path, {"name": "same", "rounds": 0})
    same.run()
    assert same.executor.trained == []
    other_score = TinySearch(tmp_path, {"name": "other", "rounds": 0, "num_images": 20})
    other_score.run()
    assert other_score.executor.trained == ["b8-n1-m1.1.1.1-a0000"]


def test_the_summary_counts_who_proposed(tmp_path: Path) -> None:
    search = TinySearch(tmp_path, {"searcher": "llm"})
    search.run()
    with opened(search.db, read_only=True) as db:
        assert proposer_shares(db, search.search) == {"offline": 3, "baseline": 1}


def test_a_budget_below_the_default_baseline_narrows_it_and_says_so(tmp_path: Path) -> None:
    search = TinySearch(tmp_path, {"baseline": "b32-n1-m1.1.1.1-a0000", "budget": "2M", "rounds": 0})
    assert str(search.plan.baseline) == "b16-n1-m1.1.1.1-a0000"
    assert search.plan.notes[-1] == (
        "the default baseline b32-n1-m1.1.1.1-a0000 exceeds the budget; the baseline is b16-n1-m1.1.1.1-a0000"
    )


def test_a_space_that_is_used_up_ends_the_search_for_that_reason(tmp_path: Path) -> None:
    search = TinySearch(tmp_path, {"budget": "491K", "rounds": 3})  # the smallest spec alone fits
    assert search.run() in ("space_exhausted", "finished_by_model")
    assert len(search.executor.trained) == 1
