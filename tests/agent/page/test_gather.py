"""What a page says of a search, against known rows; of every kind and at every state."""

import math
from pathlib import Path

import pytest
from bench import planted_in, search_on
from ended_search import digits_protocol
from pages import BASELINE, BASELINE_SEEDS, BEST, NAME, POINTS, TRIALS, add_trial, of_kind, page_memory
from searches import TinySearch
from studies import Planted, PlantedStudy

from agent.config.kinds import KINDS
from agent.page.data import PageData
from agent.page.gather import page_data
from agent.page.html import html_of
from agent.page.points import MOST_TRIALS, few_enough
from diffusion.errors import UserError
from diffusion.settings import Strategy
from diffusion.spec import UNetSpec
from diffusion.statistics.noise import critical_value
from memory.connection import opened
from memory.searches import find_protocol, set_state
from memory.strategies import Measured, accept_strategy, add_measurement


def page_of(path: Path, name: str | None = None, compare: str | None = None) -> PageData:
    """The data of a page, which can be written as well."""
    with opened(path, read_only=True) as db:
        page = page_data(db, name, compare)
        assert html_of(page, find_protocol(db, page.about.protocol)).endswith("</html>")
        assert PageData.model_validate_json(page.model_dump_json()) == page
    return page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> PageData:
    return page_of(page_memory(tmp_path_factory.mktemp("page")))


def test_every_trial_is_a_point_by_round(page: PageData) -> None:
    assert [(each.spec, each.score) for each in page.trials] == list(TRIALS)
    assert [each.round for each in page.trials] == [0, 1, 2, 3, 4] and page.left_out == 0
    best = page.trials[BEST - 1]
    assert (best.low, best.high, best.verdict, best.state) == (48.0, 75.0, "better", "scored")
    assert page.trials[3].state == "failed" and page.trials[3].error == "a plain word"
    assert page.counts["scored"] == 4 and page.counts["failed"] == 1 and page.counts["refused"] == 1


def test_the_front_is_what_none_beats_in_both(page: PageData) -> None:
    by_trial = {each.trial: each for each in page.trials}
    for count in ("paper", "total"):
        front = [by_trial[trial] for trial in page.fronts[count]]  # type: ignore[index]
        others = [each for each in page.trials if each.score is not None and each not in front]
        assert front == sorted(front, key=lambda each: getattr(each, count))
        assert all(
            any(f.score <= each.score and getattr(f, count) <= getattr(each, count) for f in front)  # type: ignore[operator]
            for each in others
        )
    assert page.fronts["paper"] == [1, 2, 3]


def test_the_baseline_has_the_interval_of_all_its_seeds(page: PageData) -> None:
    logs = [math.log(score) for score in BASELINE_SEEDS]
    mean = sum(logs) / 3
    spread = math.sqrt(sum((each - mean) ** 2 for each in logs) / 2)
    reach = critical_value(0.05, 2) * spread / math.sqrt(3)
    first = page.trials[BASELINE - 1]
    assert (first.low, first.high) == (pytest.approx(math.exp(mean - reach)), pytest.approx(math.exp(mean + reach)))
    assert [(each.seed, each.score, each.is_race) for each in page.seeds] == [(1, 110.0, False), (2, 90.0, False)]


def test_the_result_is_one_sentence_with_both_intervals(page: PageData) -> None:
    assert page.said.recommended == BEST and not page.said.is_measured
    assert page.said.result.startswith(
        "Best so far: b8-n2-m1.1.1.2-a0000 with fid-digits-cnn 60 (48 to 75, 95 %), the "
    )
    assert (
        page.said.result.endswith("better than the baseline beyond noise.")
        and "lowest fid-digits-cnn" in page.said.goal
    )


def test_effects_are_ratios_of_pairs_that_differ_in_nothing_else(page: PageData) -> None:
    effects = {each.parameter: each for each in page.effects}
    (step,) = effects["num_blocks"].steps
    assert (step.before, step.after, step.pairs, step.ratio, step.low) == (1, 2, 1, pytest.approx(60 / 80), None)
    (attention,) = effects["attn_1"].steps
    assert attention.ratio == pytest.approx(120 / 80)
    means = {each.value: each for each in effects["num_blocks"].means}
    logs = [math.log(score) for score in (100, 80, 120)]
    mean = sum(logs) / 3
    reach = critical_value(0.05, 2) * math.sqrt(sum((each - mean) ** 2 for each in logs) / 2) / math.sqrt(3)
    assert (means[1].trials, means[1].mean) == (3, pytest.approx(math.exp(mean)))
    assert (means[1].low, means[1].high) == (
        pytest.approx(math.exp(mean - reach)),
        pytest.approx(math.exp(mean + reach)),
    )
    assert means[2].low is None


def test_curves_and_grids_are_those_of_best_and_baseline(page: PageData) -> None:
    roles = {each.trial: each.role for each in page.curves}
    assert roles[BEST] == "best" and roles[BASELINE] == "baseline" and len(roles) == 4
    assert all(each.points == POINTS for each in page.curves)
    assert [(each.role, each.trial, each.seed) for each in page.grids] == [("best", BEST, 0), ("baseline", BASELINE, 0)]


def test_what_was_told_and_refused_is_there(page: PageData) -> None:
    assert [(each.round, each.kind, each.why) for each in page.refusals] == [(2, "malformed", "a plain word")]
    assert [(each.state, each.text) for each in page.directives] == [("active", "a plain word")]
    assert page.load.command and page.load.command.startswith(f"diffnas-agent export {BEST} my-model")
    assert page.load.python and "DDPMPipeline.from_pretrained" in page.load.python


def test_a_grid_that_is_no_picture_is_left_out(tmp_path: Path) -> None:
    path = page_memory(tmp_path)
    for grid in tmp_path.glob("*/samples-*.png"):
        grid.write_bytes(b"<svg onload=alert(1)>")
    with opened(path, read_only=True) as db:
        page = page_data(db)
        assert "<img" not in html_of(page, find_protocol(db, page.about.protocol)).split("<script")[0]


def test_of_very_many_trials_the_best_and_the_newest_stay(page: PageData) -> None:
    first = page.trials[0]
    many = [first.model_copy(update={"trial": n, "round": n, "score": float(n % 997)}) for n in range(1, 5_001)]
    kept = few_enough(many)
    assert len(kept) <= MOST_TRIALS and kept == sorted(kept, key=lambda each: each.round)
    numbers = {each.trial for each in kept}
    assert set(range(4_801, 5_001)) <= numbers and {each.trial for each in many if each.score == 0} <= numbers


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("study", "compress")])
def test_a_search_of_any_kind_without_a_trial_has_a_page(kind: str, tmp_path: Path) -> None:
    with opened(tmp_path / "diffnas.db") as db:
        of_kind(db, kind)
    page = page_of(tmp_path / "diffnas.db")
    assert page.about.kind == kind and page.trials == [] and page.said.goal


@pytest.mark.parametrize("state", ["running", "paused", "failed", "finished"])
def test_a_search_has_a_page_whatever_its_state(state: str, tmp_path: Path) -> None:
    path = page_memory(tmp_path)
    with opened(path) as db:
        db.conn.execute("UPDATE trials SET state = 'running', error = NULL WHERE state = 'failed'")
        set_state(db, 1, state)  # type: ignore[arg-type]
    page = page_of(path)
    assert page.about.state == ("interrupted" if state == "running" else state)
    assert page.said.result.startswith("Best: " if state == "finished" else "Best so far: ")


def test_a_search_that_ran_and_raced_is_told_by_its_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = planted_in(tmp_path, monkeypatch, networks=race_rows())
    search = search_on(tmp_path, table, rounds=6, searcher="random", replicas=3, race_trainings=12)
    assert search.run() == "rounds"
    (told,) = search.of("race.finished")
    page = page_of(search.db)
    assert (
        page.race is not None and page.race.recommended == told["recommended"] and page.race.verdict == told["verdict"]
    )
    assert page.race.ratio == told["ratio"] and page.said.is_measured and told["recommended"] in page.said.result
    assert any(each.is_race for each in page.seeds) and page.about.bench == table.name
    assert page.load.python is None and page.load.command and page.load.command.startswith("diffnas-agent train b")


def race_rows() -> tuple[object, ...]:
    """A table with as many seeds of each network as a race may ask for."""
    import bench

    return tuple(bench.network_row(spec, bench.BASELINE_SEEDS + 15) for spec in bench.SPACE)


def test_a_study_shows_how_well_cheap_trainings_rank(tmp_path: Path) -> None:
    PlantedStudy(tmp_path, Planted()).run()
    page = page_of(tmp_path / "diffnas.db", "s-rapid")
    (found,) = page.findings
    assert found.title == "Rank study s" and found.figures[0].draws == "ranking" and len(found.figures[0].data) == 16
    assert found.tables[0].rows[0][2].startswith("1.00 (")  # as planted, both order alike


def test_a_study_that_is_not_over_says_so(tmp_path: Path) -> None:
    PlantedStudy(tmp_path, Planted()).opened()
    (found,) = page_of(tmp_path / "diffnas.db", "s-rapid").findings
    assert "'s'" in found.says[0] and not found.tables


def test_a_comparison_is_put_beside_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = planted_in(tmp_path, monkeypatch)
    for searcher in ("random", "local"):
        for seed in (0, 1):
            name = f"both-{searcher}-{seed}"
            more = {"rounds": 4, "replicas": 1, "race_trainings": 0, "searcher": searcher, "seed": seed, "name": name}
            search = search_on(tmp_path, table, **more)
            with search.session() as session:
                from agent.search.drive import make_loop

                make_loop(session).run()
            with opened(search.db) as db:
                set_state(db, search.search, "finished", "rounds")
    for page in (page_of(search.db, "both-random-0"), page_of(search.db, "both-local-1", compare="both")):
        (found,) = page.findings
        assert {row[0] for row in found.tables[0].rows} == {"random", "local", "chance (expected)"}
        assert found.figures[0].draws == "regret" and len(found.figures[0].data) == 10


def test_teacher_and_student_stand_side_by_side(tmp_path: Path) -> None:
    told = {"compression": {"teacher": "1", "sha256": "a" * 64, "spec": TRIALS[0][0], "target": 0.5}}
    protocol = digits_protocol()
    with opened(tmp_path / "diffnas.db") as db:
        search = of_kind(db, "compress", **told)
        assert page_of(tmp_path / "diffnas.db").findings[0].says == ["There is no scored student yet."]
        for number, (spec, value) in enumerate((TRIALS[2], TRIALS[0])):
            add_trial(db, search, number, UNetSpec.parse(spec), value, protocol, tmp_path, "made smaller")
    page = page_of(tmp_path / "diffnas.db")
    (found,) = page.findings
    assert [row[0] for row in found.tables[0].rows] == ["teacher", "student"] and len(found.figures[0].data) == 2
    assert page.said.recommended == 2 and "of the multiply-accumulates" in page.said.result
    assert page.load.python and "load_student" in page.load.python


def test_strategies_are_shown_with_how_well_they_rank(tmp_path: Path) -> None:
    with opened(tmp_path / "diffnas.db") as db:
        search = of_kind(db, "strategy", strategy_cost="0.5")
        for number, steps in enumerate((100, 40)):
            strategy = Strategy(train_steps=steps)
            why = {"proposer": "llm", "raw_text": "{}", "reason": "cheap"}
            made = accept_strategy(db, search, number, **why, strategy=strategy, cost=steps / 100)
            add_measurement(db, made, Measured(0.8 - number / 10, 0.5, 0.9, 30.0, 8))
    (found,) = page_of(tmp_path / "diffnas.db").findings
    assert found.says[0] == "2 strategies were proposed, 2 were measured."
    assert "strategy 2" in found.says[1] and "τ 0.70" in found.says[1] and len(found.figures[0].data) == 2


def test_a_confirmation_is_shown_on_the_page_of_a_search_of_its_data(tmp_path: Path) -> None:
    path = page_memory(tmp_path)
    with opened(path) as db:
        search = of_kind(db, "confirm")
        for number, (spec, value) in enumerate(TRIALS[:2]):
            add_trial(db, search, number, UNetSpec.parse(spec), value, digits_protocol(), tmp_path / "full", "in full")
    (found,) = page_of(path, NAME).findings
    assert found.title == "Confirmation confirm-empty: trained in full" and len(found.tables[0].rows) == 2
    assert page_of(path, "confirm-empty").said.result == "nothing beat the baseline beyond noise."


def test_another_search_is_put_beside_one(tmp_path: Path) -> None:
    first, second = (TinySearch(tmp_path, {"name": name, "rounds": 2}) for name in ("one", "two"))
    first.run(), second.run()
    (found,) = page_of(first.db, "one", compare="two").findings
    assert [row[0] for row in found.tables[0].rows] == ["one", "two"]
    other = TinySearch(tmp_path, {"name": "three", "train_steps": 3})
    with pytest.raises(UserError, match=r"^--compare 'three': its scores do not compare with those of one: strategy"):
        page_of(other.db, "one", compare="three")
    with pytest.raises(UserError, match=r"^--compare 'none' is neither a comparison nor a search of this memory"):
        page_of(other.db, "one", compare="none")


def test_it_is_read_and_nothing_is_written(tmp_path: Path) -> None:
    path = page_memory(tmp_path)
    before = path.read_bytes()
    page_of(path, NAME)
    assert path.read_bytes() == before
