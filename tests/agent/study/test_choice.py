"""`run --study`: a search trains and scores as a rank study found to rank well."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database
from studies import RAPID, STANDARD, Planted, PlantedStudy, arm_of, quality, spec_of

from agent.cli.main import main
from agent.estimate.calibration import Calibration
from agent.study.arms import Study
from agent.study.report import measured_study
from agent.study.run import changed_score
from diffusion.settings import ScoreJob
from memory.connection import database_path

CHEAP_IMAGES, NOISY_IMAGES = 8, 4


def value(rapid_sign: float, job: ScoreJob) -> float:
    """The planted truth; turned round for the rapid strategy if asked, and useless from very few images."""
    found = quality(spec_of(job)) * (rapid_sign if arm_of(job.protocol.strategy) == "rapid" else 1.0)
    return -found if job.protocol.score.num_images == NOISY_IMAGES else found


def study_in(folder: Path, rapid_sign: float, *images: int, specs: int = 8) -> PlantedStudy:
    folder.mkdir(exist_ok=True)
    planted = PlantedStudy(folder, Planted(lambda job: value(rapid_sign, job)), specs=specs)
    arm = planted.plan().arms[0]
    also = tuple(changed_score(arm, f"num_images={number}") for number in images)
    assert planted.run(also) == 0
    return planted


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    return study_in(tmp_path_factory.mktemp("good"), 1.0, CHEAP_IMAGES, NOISY_IMAGES, specs=12)


@pytest.fixture(autouse=True, scope="module")
def measured_once() -> Iterator[None]:
    """What a finished study says is the same each time, and takes seconds to compute."""
    known: dict[str, Any] = {}

    def measured(db: Database, study: Study) -> Any:
        place = database_path(db)
        if place not in known:
            known[place] = measured_study(db, study)
        return known[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.study.choice.measured_study", measured)
        yield


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("agent.estimate.dry_run.calibrate", lambda job: Calibration(1.0, 2.0))

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()  # what the study said
        monkeypatch.setattr(sys, "argv", ["diffnas-agent", "run", "--study", "s", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return run


def settings(typed: Any, study: PlantedStudy, *words: str) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    code, out, _ = typed("--db", str(study.db), "--dry-run", "--json", *words)
    assert code == 0
    found = json.loads(out)
    return (
        {name: setting["value"] for name, setting in found["settings"].items()},
        {name: setting["from"] for name, setting in found["settings"].items()},
        found["notes"],
    )


def test_a_rapid_strategy_that_was_not_shown_to_rank_worse_is_taken(typed: Any, good: PlantedStudy) -> None:
    values, sources, notes = settings(typed, good)
    assert {name: values[name] for name in RAPID.model_dump()} == RAPID.model_dump()
    assert (sources["learning_rate"], sources["train_steps"]) == ("study s", "study s")
    assert notes[-2].startswith(
        "the strategy is the rapid one of the study s: rapid at step 20 and standard at step 60"
    )


def test_the_cheapest_score_that_keeps_the_ranking_is_taken_and_a_cheaper_one_that_does_not_is_not(
    typed: Any, good: PlantedStudy
) -> None:
    values, _, notes = settings(typed, good)
    assert (values["num_images"], values["sampling_steps"]) == (CHEAP_IMAGES, 2)
    assert f"num_images={CHEAP_IMAGES} on rapid is the cheapest" in notes[-1]


def test_data_and_sizes_are_the_studys_and_the_rest_is_not(typed: Any, good: PlantedStudy) -> None:
    values, sources, _ = settings(typed, good, "--rounds", "7")
    assert (values["dataset"], values["space"], values["rounds"], values["llm"]) == ("digits", "digits-8", 7, "offline")
    assert (values["replicas"], sources["replicas"]) == (3, "built-in")


def test_what_is_typed_wins(typed: Any, good: PlantedStudy) -> None:
    values, sources, _ = settings(typed, good, "--num-images", "12", "--set", "learning_rate=0.003")
    assert (values["num_images"], values["learning_rate"]) == (12, 0.003)
    assert (sources["num_images"], sources["learning_rate"]) == ("option", "option")
    assert values["train_steps"] == RAPID.train_steps


def test_a_rapid_strategy_that_ranks_worse_is_not_taken(typed: Any, tmp_path: Path) -> None:
    values, _, notes = settings(typed, study_in(tmp_path / "bad", -1.0))
    assert {name: values[name] for name in STANDARD.model_dump()} == STANDARD.model_dump()
    assert "the strategy is the standard one of the study s" in notes[-1]


def test_without_cheaper_scores_the_score_is_the_studys(typed: Any, tmp_path: Path) -> None:
    values, _, _ = settings(typed, study_in(tmp_path / "plain", 1.0))
    assert (values["num_images"], values["sampling_steps"]) == (16, 2)


def test_other_data_are_refused(typed: Any, good: PlantedStudy) -> None:
    code, _, err = typed("--db", str(good.db), "--family", "iddpm")
    assert code == 2
    assert " ".join(err.split()).startswith("'s' is a study of something else: family is ddpm there and iddpm here")


def test_a_search_of_it_runs_under_its_protocol(
    typed: Any, good: PlantedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(good.db, tmp_path / "copy.db")
    executor = Planted(lambda job: value(1.0, job))
    monkeypatch.setattr("agent.search.wiring.LocalExecutor", executor)
    words = ("--db", str(tmp_path / "copy.db"), "--out", str(tmp_path / "runs"), "--rounds", "1", "--json")
    code, out, err = typed(*words, "--set", "replicas=1", "--set", "race_trainings=0")
    assert code == 0, err
    scored = [json.loads(line) for line in out.splitlines() if '"trial.scored"' in line]
    assert len(scored) == 2
    assert all(job.strategy == RAPID for job in executor.jobs)
    assert "Note: the strategy is the rapid one of the study s" in " ".join(err.split())
