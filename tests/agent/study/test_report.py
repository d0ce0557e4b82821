"""What a rank study says, of planted scores whose answers are known by other means."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy.stats import kendalltau, pearsonr, rankdata, spearmanr
from studies import SECONDS_A_STEP, SECONDS_AN_IMAGE, Planted, PlantedStudy, arm_of, quality, spec_of

from agent.cli.main import app
from agent.report.results import plain
from agent.study.cheaper_scores import CheaperScore, CheapestScore, cheapest
from agent.study.columns import Cell, truth_of
from agent.study.plots import draw_study, rank_pairs
from agent.study.report import MeasuredStudy, Member, measured_study
from agent.study.run import changed_score
from agent.study.store import stored_study
from agent.study.tables import PRINTED, print_study
from diffusion.cost.closed_form import Macs
from diffusion.errors import UserError, command
from diffusion.settings import ScoreJob
from memory.connection import opened

Found = dict[str, Any]
SPECS = 8
SWAPPED = (3, 6)  # whose standard proxies stand the wrong way around


def said(found: Found) -> str:
    stream = io.StringIO()
    print_study(Console(file=stream, width=200), MeasuredStudy.model_validate(found))
    return stream.getvalue()


def measured(planted: PlantedStudy, top_k: int = 3) -> Found:
    with opened(planted.db, read_only=True) as db:
        found = measured_study(db, stored_study(db, "s"), top_k)
    return json.loads(json.dumps(plain(found), allow_nan=False))  # type: ignore[no-any-return]


def row(found: Found, arm: str, step: int) -> Found:
    return next(row for row in found["proxies"] if (row["arm"], row["step"]) == (arm, step))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    """Rapid has the true order, standard two pairs of specs exchanged; fewer images tell less, fewer steps do not."""
    found = PlantedStudy(tmp_path_factory.mktemp("planted"), Planted(), SPECS)
    specs = found.plan().specs
    by_truth = sorted(specs, key=quality)
    exchanged = dict(zip(by_truth, by_truth, strict=True))
    for place in SWAPPED:
        one, other = by_truth[place - 1], by_truth[place]
        exchanged[one], exchanged[other] = other, one

    def value(job: ScoreJob) -> float:
        spec, strategy, score = spec_of(job), job.protocol.strategy, job.protocol.score
        if score.num_images == 8:
            return 1 / quality(spec)  # the wrong way around
        if arm_of(strategy) == "rapid":
            return 10 * quality(spec) ** 2 / strategy.train_steps
        if arm_of(strategy) == "standard":
            return quality(exchanged[spec])
        return quality(spec) * (0.9 if job.sampling_seed == 1 else 1.1)

    found.executor.value = value
    study = found.plan()
    changes = ("num_images=8", "sampling_steps=1", "num_images=14")
    assert found.run(tuple(changed_score(study.arms[0], text) for text in changes)) == 0
    return found


@pytest.fixture(scope="module")
def found(planted: PlantedStudy) -> Found:
    return measured(planted)


class TestPlanted:
    def test_the_planted_ranking_is_recovered(self, found: Found) -> None:
        for step in (5, 10, 20):
            ours = row(found, "rapid", step)
            assert ours["kendall"]["value"] == ours["spearman"]["value"] == 1
            assert ours["kendall"]["low"] < 1  # a perfect order of eight proves no perfect order
            assert (ours["recall"], ours["regret"], ours["regret_top_k"]) == (1, 0, 0)

    def test_every_correlation_is_scipys(self, found: Found) -> None:
        truth = [member["truth"] for member in found["members"]]
        for ours in found["proxies"]:
            values = [member["scores"][ours["arm"]][str(ours["step"])] for member in found["members"]]
            assert ours["spearman"]["value"] == pytest.approx(spearmanr(values, truth).statistic)
            assert ours["kendall"]["value"] == pytest.approx(kendalltau(values, truth).statistic)
            assert ours["pearson"]["value"] == pytest.approx(pearsonr(values, truth).statistic)
        assert row(found, "rapid", 20)["pearson"]["value"] < 1  # of the values, not of their ranks

    def test_two_exchanged_neighbours_cost_what_the_formula_says(self, found: Found) -> None:
        assert row(found, "standard", 60)["kendall"]["value"] == pytest.approx(1 - 2 * 2 / (SPECS * (SPECS - 1) / 2))
        assert row(found, "standard", 60)["recall"] == pytest.approx(2 / 3)  # the third and the fourth are exchanged

    def test_the_truth_is_the_mean_over_its_seeds(self, found: Found) -> None:
        assert found["truth"]["seeds"] == [1, 2]
        for member in found["members"]:
            scores = [member["scores"][arm]["120"] for arm in ("truth-1", "truth-2")]
            assert member["truth"] == pytest.approx(sum(scores) / 2)
        assert found["truth"]["agreement_of_two"]["kendall"]["value"] == 1

    def test_the_difference_is_paired_and_its_sign_is_the_first_one_better(self, found: Found) -> None:
        ours = found["differences"][-1]
        assert (ours["a"], ours["b"]) == ({"arm": "rapid", "step": 20}, {"arm": "standard", "step": 60})
        gap = row(found, "rapid", 20)["kendall"]["value"] - row(found, "standard", 60)["kendall"]["value"]
        assert ours["kendall"]["value"] == pytest.approx(gap) and gap > 0
        assert ours["kendall"]["low"] <= 0 and "does not tell them apart" in ours["conclusion"]
        assert ours["needed_n"]["pearson"]["n"] > 0
        assert "perfect" in ours["needed_n"]["kendall"]["why"]

    def test_a_step_costs_its_share_of_the_training_and_one_score(self, found: Found) -> None:
        spent = row(found, "standard", 15)["device_seconds"]
        score = SPECS * SECONDS_AN_IMAGE * 16
        assert spent == {"train": SPECS * SECONDS_A_STEP * 15, "score": score, "total": spent["train"] + score}
        ends = [row(found, arm, end)["device_seconds"]["total"] for arm, end in (("rapid", 20), ("standard", 60))]
        assert found["differences"][-1]["device_seconds_ratio"] == pytest.approx(ends[0] / ends[1])
        assert row(found, "rapid", 20)["device_seconds_per_point"] == pytest.approx(ends[0] / 100)
        assert found["truth"]["device_seconds"] == 2 * SPECS * (SECONDS_A_STEP * 120 + SECONDS_AN_IMAGE * 16)

    def test_nobody_failed_and_nobody_waits(self, found: Found) -> None:
        assert (found["failed"], found["waiting"]) == ([], [])
        counts = ("ranked", "failed", "without_truth", "waiting")
        assert {tuple(ours[name] for name in counts) for ours in found["proxies"]} == {(SPECS, 0, 0, 0)}


class TestCheaperScores:
    def test_the_cheapest_that_keeps_the_ranking_is_named(self, found: Found) -> None:
        by_changes = {json.dumps(ours["changes"]): ours for ours in found["cheaper_scores"]}
        fewer, wrong = by_changes['{"num_images": 14}'], by_changes['{"num_images": 8}']
        assert fewer["kendall"]["value"] == 1 and wrong["kendall"]["value"] == -1
        assert (fewer["device_seconds_a_score"], fewer["full_device_seconds_a_score"]) == (3.5, 4)
        assert not by_changes['{"sampling_steps": 1}']["is_cheaper"]  # the planted seconds are those of the images
        assert found["cheapest_score"]["protocol"] == (fewer["protocol"] if fewer["keeps_the_ranking"] else None)

    def test_the_interval_has_to_lie_above_the_limit(self, found: Found) -> None:
        for ours in found["cheaper_scores"]:
            tau = ours["kendall"]
            assert ours["keeps_the_ranking"] == (tau["value"] >= 0.9 and tau["low"] > 0.75)

    def test_a_proxy_with_a_cheaper_score_is_held_against_the_standard_strategy_too(self, found: Found) -> None:
        by_changes = {json.dumps(ours["changes"]): ours["against_standard"] for ours in found["cheaper_scores"]}
        fewer, wrong = by_changes['{"num_images": 14}'], by_changes['{"num_images": 8}']
        standard = row(found, "standard", 60)["kendall"]["value"]
        assert fewer["kendall"]["value"] == pytest.approx(1 - standard)
        assert wrong["kendall"]["value"] == pytest.approx(-1 - standard)
        seconds = [0.5 * 20 + 0.25 * 14, 0.5 * 60 + 0.25 * 16]
        assert fewer["device_seconds_ratio"] == pytest.approx(seconds[0] / seconds[1])
        assert fewer["conclusion"].startswith("rapid at step 20 scored with num_images=14 and standard at step 60:")

    def test_none_is_said_where_none_keeps_it(self, found: Found) -> None:
        wrong = [
            CheaperScore.model_validate(ours)
            for ours in found["cheaper_scores"]
            if ours["changes"] == {"num_images": 8}
        ]
        assert cheapest(wrong) == CheapestScore(
            protocol=None,
            why="none of 1 cheaper scores keeps a tau-b of at least 0.9 with the interval above 0.75",
        )
        able = wrong[0].model_copy(update={"keeps_the_ranking": True, "is_cheaper": True})
        two = [
            able.model_copy(update={"device_seconds_a_score": seconds, "protocol": protocol})
            for seconds, protocol in ((3.0, "dear"), (2.0, "cheap"))
        ]
        best = cheapest(two)
        assert best is not None and best.protocol == "cheap"
        assert cheapest([]) is None


class TestTable2:
    def test_the_papers_rows_have_its_strategies_and_figures(self, found: Found) -> None:
        theirs = [ours for ours in found["table_2"] if ours["source"] == "paper"]
        strategies = {"standard": (1e-4, 0.3, 4000), "rapid": (2e-4, 0.1, 400)}
        fields = ("learning_rate", "dropout", "diffusion_steps")
        assert all(tuple(ours[name] for name in fields) == strategies[ours["strategy"]] for ours in theirs)
        printed = [(ours["strategy"], ours["train_steps"], *ours["printed"].values()) for ours in theirs]
        assert printed == [
            ("standard", 30_000, 0.533, 0.444, 0.533),
            ("standard", 50_000, 0.816, 0.667, 0.816),
            ("standard", 100_000, 0.95, 0.833, 0.95),
            ("rapid", 30_000, 0.892, 0.714, 0.892),
            ("rapid", 50_000, 0.964, 0.904, 0.964),
        ]
        assert all(ours[name] is None for ours in theirs for name in ("spearman", "kendall", "pearson"))

    def test_our_rows_are_the_ends_of_the_proxies(self, found: Found) -> None:
        ours = [ours for ours in found["table_2"] if ours["source"] == "measured"]
        assert [(one["strategy"], one["train_steps"]) for one in ours] == [("standard", 60), ("rapid", 20)]
        for one, end in zip(ours, (60, 20), strict=True):
            assert one["kendall"] == row(found, one["strategy"], end)["kendall"] and one["printed"] is None
            assert one["device_seconds_a_spec"] == SECONDS_A_STEP * end + SECONDS_AN_IMAGE * 16

    def test_people_see_all_of_it(self, found: Found) -> None:
        text = said(found)
        for part in ("Table II", PRINTED, "paper: standard", "0.904", "here: rapid", "1.00 [", "Cheaper scores"):
            assert part in text
        assert "Failed" not in text


def study_with(
    folder: Path, failing: Callable[[PlantedStudy], set[tuple[str, str, int]]], specs: int = 6
) -> PlantedStudy:
    """A study in which some trainings fail."""
    found = PlantedStudy(folder, Planted(), specs, asked={"score_steps": (10,)})
    found.executor.failing = failing(found)
    assert found.run() == 0
    return found


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The truly best fails in the rapid arm, the worst in one of the two truths."""

    def which(found: PlantedStudy) -> set[tuple[str, str, int]]:
        order = sorted(found.plan().specs, key=quality)
        return {("rapid", str(order[0]), 0), ("truth", str(order[-1]), 2)}

    return measured(study_with(tmp_path_factory.mktemp("failed"), which, specs=7))


class TestFailed:
    def test_they_are_named_with_the_reason(self, failed: Found) -> None:
        assert [(one["arm"], one["steps"], one["why"]) for one in failed["failed"]] == [
            ("rapid", [10, 20], "the loss is nan at step 1"),
            ("truth-2", [120], "the loss is nan at step 1"),
        ]
        assert "Failed (the worst by rank" in said(failed)
        assert said(failed).count("the loss is nan at step 1") == 2

    def test_a_failed_proxy_is_the_worst_by_rank_and_a_spec_without_two_truths_has_none(self, failed: Found) -> None:
        ours = row(failed, "rapid", 20)
        assert (ours["ranked"], ours["failed"], ours["without_truth"]) == (6, 1, 1)
        truth = sorted(one["truth"] for one in failed["members"] if one["truth"] is not None)
        by_proxy = [float("inf") if value == truth[0] else value for value in truth]
        assert ours["kendall"]["value"] == pytest.approx(kendalltau(rankdata(by_proxy), truth).statistic)
        assert ours["recall"] == pytest.approx(2 / 3)
        assert ours["pearson"]["value"] == pytest.approx(1)  # it knows no infinity, and leaves the failed one out
        assert row(failed, "standard", 60)["ranked"] == 6 and row(failed, "standard", 60)["failed"] == 0

    def test_a_failed_trial_is_not_waited_for(self, failed: Found) -> None:
        assert failed["waiting"] == [] and failed["truth"]["specs_with_truth"] == 6

    def test_two_full_trainings_at_least_make_a_truth(self) -> None:
        one, none = Cell("scored", 2.0), Cell("failed")
        assert truth_of([[one, one, none], [Cell("scored", 4.0), none, none], [none, none, one]]) == [3.0, None, None]


class TestUnfinished:
    def interrupted(self, folder: Path, trainings: int) -> PlantedStudy:
        found = PlantedStudy(folder, Planted(), 10, asked={"score_steps": (10,)})
        found.executor.interrupts_after = trainings
        assert found.run() == 130
        return found

    def test_half_of_the_full_trainings_missing_is_refused_and_one_less_is_not(self, tmp_path: Path) -> None:
        found = self.interrupted(tmp_path, 35)
        with pytest.raises(UserError) as caught:
            measured(found)
        assert str(caught.value) == (
            "'s' lacks the full training of 5 of its 10 specs; wait, or go on with "
            f"`{command('rank-study', 's', '--resume', db=found.db)}`"
        )
        found.executor.interrupts_after = 36
        assert found.run() == 130
        ours = measured(found)
        assert ours["truth"]["specs_with_truth"] == 6
        assert [(one["arm"], one["why"]) for one in ours["waiting"]] == [("truth-2", None)] * 4
        assert {one["without_truth"] for one in ours["proxies"]} == {4}
        assert "Not there yet (left out)" in said(ours)

    def test_a_proxy_that_is_not_there_yet_is_left_out_and_not_taken_for_a_failure(self, tmp_path: Path) -> None:
        found = PlantedStudy(tmp_path, Planted(), 7, asked={"score_steps": (10,)})
        assert found.run() == 0
        (trial,) = (one["id"] for one in found.rows("SELECT id FROM trials WHERE search = 1 AND round = 3"))
        with opened(found.db) as db:
            db.conn.execute("PRAGMA foreign_keys = OFF")
            db.conn.execute("DELETE FROM trials WHERE id = ?", [trial])
        ours = measured(found)
        rapid = row(ours, "rapid", 20)
        assert (rapid["ranked"], rapid["failed"], rapid["waiting"]) == (6, 0, 1)
        assert rapid["kendall"]["value"] == 1
        assert [(one["arm"], one["steps"]) for one in ours["waiting"]] == [("rapid", [10, 20])]
        assert [
            len(rank_pairs(MeasuredStudy.model_validate(ours), *at)) for at in (("rapid", 20), ("standard", 60))
        ] == [6, 7]

    def test_truths_that_failed_are_not_waited_for(self, tmp_path: Path) -> None:
        def half(found: PlantedStudy) -> set[tuple[str, str, int]]:
            return {("truth", str(spec), 1 + index % 2) for index, spec in enumerate(found.plan().specs) if index % 3}

        found = study_with(tmp_path, half, specs=7)
        with pytest.raises(UserError, match=r"lacks the full training of 4 of its 7 specs; too many failed"):
            measured(found)


class TestPlots:
    def test_ranks_are_those_of_scipy_and_failed_ones_share_the_last(self) -> None:
        pairs = [("a", 1.0, 5.0), ("b", 2.0, None), ("c", 3.0, 4.0), ("d", None, 1.0), ("e", 4.0, None)]
        members = [
            Member(spec=spec, macs=Macs(paper=1, total=1), params=1, truth=truth, scores={"rapid": {"20": value}})
            for spec, truth, value in pairs
        ]
        study = MeasuredStudy.model_construct(members=members, waiting=[])
        assert rank_pairs(study, "rapid", 20) == [(1, 2), (2, 3.5), (3, 1), (4, 3.5)]

    def test_two_pictures_are_drawn(self, found: Found, tmp_path: Path) -> None:
        paths = draw_study(MeasuredStudy.model_validate(found), tmp_path / "new")
        assert [path.name for path in paths] == ["s-curves.png", "s-ranks.png"]
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)

    def test_without_matplotlib_the_remedy_is_one_sentence(
        self, found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("agent.report.pictures.find_spec", lambda name: None)
        with pytest.raises(UserError, match=r"^--plots .* needs matplotlib; pip install matplotlib$"):
            draw_study(MeasuredStudy.model_validate(found), tmp_path)


class TestTyped:
    """The command as it is typed."""

    def run(self, *arguments: str) -> Any:
        return app(["rank-study", *arguments], standalone_mode=False)

    def test_the_report_as_json_is_the_report(
        self, planted: PlantedStudy, found: Found, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.run("s", "--report", "--json", "--db", str(planted.db))
        assert json.loads(capsys.readouterr().out) == found

    def test_a_finished_study_that_is_resumed_reports(
        self, planted: PlantedStudy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = len(planted.executor.jobs)
        monkeypatch.setattr("agent.search.wiring.LocalExecutor", planted.executor)
        assert self.run("s", "--resume", "--db", str(planted.db)) == 0
        assert "Table II" in capsys.readouterr().out
        assert len(planted.executor.jobs) == before

    def test_dry_run_shows_what_would_be_trained_and_writes_nothing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        self.run("--specs", "6", "--dry-run", "--json")
        ours = json.loads(capsys.readouterr().out)
        assert [(one["arm"], one["trainings"], one["strategy"]["train_steps"]) for one in ours["arms"]] == [
            ("rapid", 6, 200), ("standard", 6, 600), ("truth-1", 6, 1200), ("truth-2", 6, 1200),
        ]  # fmt: skip
        assert ours["macs"] == sum(one["macs"] for one in ours["arms"]) > 0
        assert len(ours["specs"]) == 6 and list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--specs", "4"], "--specs 4: fewer than 5 specs"),
            (["--rapid", "learning_rate=2"], "--rapid learning_rate=2: input should be less than or equal to 1"),
            (["--standard", "best"], "--standard 'best' is no strategy; there are paper-standard"),
            (["--score-steps", "a,5"], "--score-steps 'a' is not a step; write --score-steps 50,100,200"),
            (["--also-score", "images=5"], "--also-score 'images=5' is no change of a score"),
            (["--also-on", "truth-9"], "'truth-9' is no arm of the study"),
            (["--report", "--resume"], "--report only reads; leave --resume out"),
            (["--report", "--also-score", "num_images=5"], "--report only reads; leave --also-score out"),
            (["--resume", "--dry-run"], "--dry-run shows a new study"),
        ],
    )
    def test_a_mistake_is_one_sentence_and_nothing_is_opened(
        self, arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError) as caught:
            self.run(*arguments)
        assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)
        assert not (tmp_path / "diffnas.db").exists()
