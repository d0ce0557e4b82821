"""Proposed strategies are measured on a rank study: the same specs, its truth, nothing trained twice."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from studies import RAPID, STANDARD, Planted, PlantedStudy, quality, spec_of

from agent.cli.main import main
from agent.study.measure import MeasureOn, study_of
from agent.study.report import measured_study
from agent.study.store import stored_study
from diffusion.errors import UserError
from diffusion.settings import ScoreJob, Strategy
from memory.connection import opened
from memory.strategies import Measured
from tools.errors import Interrupted, JobFailed

BACKWARD = RAPID.model_copy(update={"learning_rate": 4e-3})


def backwards_if_asked(job: ScoreJob) -> float:
    """The planted truth, turned round under one strategy."""
    return (-1.0 if job.protocol.strategy.learning_rate == BACKWARD.learning_rate else 1.0) * quality(spec_of(job))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    planted = PlantedStudy(tmp_path_factory.mktemp("study"), Planted(backwards_if_asked), specs=6)
    assert planted.run() == 0
    return planted


@pytest.fixture
def studied(done: PlantedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlantedStudy:
    """The study that was done, in a memory of its own."""
    shutil.copytree(done.folder, tmp_path, dirs_exist_ok=True)
    planted = PlantedStudy(tmp_path, Planted(backwards_if_asked), specs=6)
    monkeypatch.setattr("agent.search.wiring.LocalExecutor", planted.executor)
    monkeypatch.chdir(tmp_path)
    return planted


def measure(studied: PlantedStudy, strategy: Strategy) -> Measured:
    config = studied.plan().arms[0].planned.config
    return MeasureOn(study_of(studied.db, "s", config), as_json=False)(strategy)


def test_a_planted_ranking_is_measured_and_a_turned_one_too(studied: PlantedStudy) -> None:
    found = measure(studied, RAPID.model_copy(update={"dropout": 0.2}))
    assert (found.tau, found.n) == (1.0, 6)
    assert measure(studied, BACKWARD).tau == -1.0


def test_it_costs_its_trainings_and_one_score_each(studied: PlantedStudy) -> None:
    before = len(studied.executor.jobs)
    found = measure(studied, BACKWARD)
    assert len(studied.executor.jobs) - before == 6
    assert found.device_seconds == 6 * (0.5 * 20 + 0.25 * 16)


def test_its_trainings_have_the_proxies_seed_and_never_the_truths(studied: PlantedStudy) -> None:
    before = len(studied.executor.jobs)
    measure(studied, BACKWARD)
    study = studied.plan()
    assert {job.seed for job in studied.executor.jobs[before:]} == {study.arms[0].seed}
    assert {arm.seed for arm in study.truths}.isdisjoint({study.arms[0].seed})


@pytest.mark.parametrize(("strategy", "arm"), [(RAPID, "rapid"), (STANDARD, "standard")])
def test_the_studys_own_strategies_are_read_and_not_trained(
    studied: PlantedStudy, strategy: Strategy, arm: str
) -> None:
    before = len(studied.executor.jobs)
    found = measure(studied, strategy)
    with opened(studied.db, read_only=True) as db:
        report = measured_study(db, stored_study(db, "s"))
    row = next(row for row in report.proxies if row.arm == arm and row.is_end)
    assert (found.tau, found.low, found.high) == row.kendall
    assert len(studied.executor.jobs) == before


def test_one_that_was_stopped_goes_on_where_it_was(studied: PlantedStudy) -> None:
    studied.executor.interrupts_after = len(studied.executor.jobs) + 3
    with pytest.raises(Interrupted):
        measure(studied, BACKWARD)
    studied.executor.interrupts_after = None
    assert measure(studied, BACKWARD).tau == -1.0
    assert set(studied.executor.trained.values()) == {1}
    assert len(studied.rows("SELECT * FROM searches WHERE kind = 'measurement'")) == 1


def test_a_strategy_under_which_nothing_trains_has_no_accuracy(studied: PlantedStudy) -> None:
    studied.executor.failing = {("rapid", str(spec), studied.plan().arms[0].seed) for spec in studied.plan().specs}
    with pytest.raises(JobFailed, match="three trials in a row failed"):
        measure(studied, BACKWARD)


def test_the_study_itself_stays_what_it_was(studied: PlantedStudy) -> None:
    with opened(studied.db, read_only=True) as db:
        before = measured_study(db, stored_study(db, "s"))
    measure(studied, BACKWARD)
    with opened(studied.db, read_only=True) as db:
        assert measured_study(db, stored_study(db, "s")) == before


def test_a_study_without_half_of_its_truth_measures_nothing(tmp_path: Path) -> None:
    planted = PlantedStudy(tmp_path, Planted(), specs=6)
    planted.executor.interrupts_after = 14
    assert planted.run() == 130
    with pytest.raises(UserError, match="'s' lacks the full training of 6 of its 6 specs"):
        study_of(planted.db, "s")


class TestTyped:
    def typed(self, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["diffnas-agent", "strategy", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    def test_every_proposal_is_measured(
        self, studied: PlantedStudy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.typed(monkeypatch, "--study", "s", "--rounds", "2", "--json", "--db", str(studied.db)) == 0
        captured = capsys.readouterr()
        events: list[dict[str, Any]] = [json.loads(line) for line in captured.out.splitlines()]
        measured = [event for event in events if event["event"] == "strategy.measured"]
        assert [event["tau"] for event in measured] == [1.0, 1.0, 1.0]  # the standard strategy's first
        assert [event["specs"] for event in measured] == [6, 6, 6]
        final = events[-1]
        assert final["event"] == "strategy.finished"
        assert final["best"] is not None
        assert "the best of 2 on one truth flatters itself" in " ".join(captured.err.split())

    def test_a_resumed_one_is_measured_too(
        self, studied: PlantedStudy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        studied.executor.interrupts_after = len(studied.executor.jobs) + 2
        assert self.typed(monkeypatch, "--study", "s", "--name", "y", "--db", str(studied.db)) == 130
        studied.executor.interrupts_after = None
        monkeypatch.setattr(sys, "argv", ["diffnas-agent", "resume", "y", "--db", str(studied.db)])
        with pytest.raises(SystemExit) as caught:
            main()
        assert not caught.value.code
        assert "over 6 specs" in capsys.readouterr().out
        assert set(studied.executor.trained.values()) == {1}

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (("--study", "nope"), "'nope' is not a rank study of this memory; there are s"),
            (
                ("--study", "s", "--standard", "digits-standard"),
                "--standard 'digits-standard': the study s has its",
            ),
            (("--study", "s", "--set", "num_images=9"), "'s' is a study of something else: score.num_images is 16"),
            (("--study", "s", "--family", "iddpm"), "'s' is a study of something else: settings.family is ddpm"),
        ],
    )
    def test_what_does_not_go_together_is_said(
        self,
        studied: PlantedStudy,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        words: tuple[str, ...],
        sentence: str,
    ) -> None:
        assert self.typed(monkeypatch, *words, "--db", str(studied.db)) == 2
        assert " ".join(capsys.readouterr().err.split()).startswith(sentence)
        assert studied.rows("SELECT * FROM searches WHERE kind = 'strategy'") == []
        assert studied.executor.jobs == []

    def test_an_arm_is_not_resumed_by_itself(
        self, studied: PlantedStudy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        measure(studied, BACKWARD)
        name = studied.rows("SELECT name FROM searches WHERE kind = 'measurement'")[0]["name"]
        monkeypatch.setattr(sys, "argv", ["diffnas-agent", "resume", name, "--db", str(studied.db)])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 2
        assert capsys.readouterr().err.startswith(f"'{name}' measures a strategy")


def test_an_arm_is_one_strategy(studied: PlantedStudy) -> None:
    measure(studied, BACKWARD)
    measure(studied, replace(studied.plan().arms[0]).strategy.model_copy(update={"dropout": 0.4}))
    assert len(studied.rows("SELECT * FROM searches WHERE kind = 'measurement'")) == 2
