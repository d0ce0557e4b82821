"""A rank study is run once, gone on with after it was killed or stopped, and scored in other ways."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from studies import RAPID, Killed, Planted, PlantedStudy, quality, spec_of

from agent.search.plan import reopened
from agent.study.report import measured_study
from agent.study.run import OTHER_IMAGES, changed_score, resume_arm
from agent.study.store import stored_study
from diffusion.errors import UserError
from diffusion.settings import ScoreJob
from memory.connection import opened
from memory.searches import find_protocol, find_search
from tools.errors import JobFailed


@pytest.fixture
def planted(tmp_path: Path) -> PlantedStudy:
    return PlantedStudy(tmp_path, Planted(), specs=5, asked={"score_steps": (10,)})


class TestGoingOn:
    @pytest.mark.parametrize("trainings", [0, 13])
    def test_a_killed_study_trains_and_scores_nothing_twice(self, planted: PlantedStudy, trainings: int) -> None:
        planted.executor.dies_after = trainings
        with pytest.raises(Killed):
            planted.run()
        planted.executor.dies_after = None
        assert planted.run() == 0
        assert len(planted.executor.trained) == 20 and set(planted.executor.trained.values()) == {1}
        assert set(planted.executor.scored.values()) == {1}
        assert len(planted.executor.scored) == 5 * 6

    def test_a_study_killed_while_it_scores_goes_on_with_the_score(self, planted: PlantedStudy) -> None:
        calls = Counter[str]()

        def dies_once(job: ScoreJob) -> float:
            calls["scores"] += 1
            if calls["scores"] == 6:
                raise Killed
            return quality(spec_of(job))

        planted.executor.value = dies_once
        with pytest.raises(Killed):
            planted.run()
        assert planted.run() == 0
        assert set(planted.executor.trained.values()) == {1}
        assert sorted(planted.executor.scored.values()) == [1] * 29 + [2]  # the one that died was not finished

    def test_scores_say_whether_they_are_of_a_full_training(
        self, planted: PlantedStudy, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert planted.run(as_json=True) == 0
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [event["train"] for event in events if event["event"] == "trial.scored"] == ["rapid"] * 10 + [
            "full"
        ] * 10

    def test_a_stopped_study_says_how_to_go_on(self, planted: PlantedStudy, capsys: pytest.CaptureFixture[str]) -> None:
        planted.executor.interrupts_after = 6
        assert planted.run() == 130
        assert (
            f"interrupted; go on with: diffnas-agent rank-study s --resume --db {planted.db}" in capsys.readouterr().out
        )
        states = [row["state"] for row in planted.rows("SELECT state FROM searches ORDER BY id")]
        assert states[:2] == ["finished", "interrupted"]
        planted.executor.interrupts_after = None
        assert planted.run() == 0
        assert set(planted.executor.trained.values()) == {1}

    def test_an_arm_that_is_resumed_by_its_name_goes_on_with_the_whole_study(
        self, planted: PlantedStudy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        planted.executor.interrupts_after = 2
        assert planted.run() == 130
        planted.executor.interrupts_after = None
        monkeypatch.setattr("agent.search.wiring.LocalExecutor", planted.executor)
        with opened(planted.db, read_only=True) as db:
            row = find_search(db, "s-rapid")
            protocol = find_protocol(db, row.protocol)
        plan = reopened(row.config_json, protocol, {"db": planted.db, "parallel": 2})
        assert resume_arm(row.id, plan, as_json=False) == 0
        assert len(planted.executor.trained) == 20

    def test_three_failures_in_a_row_end_the_run_and_the_rest_can_go_on(self, planted: PlantedStudy) -> None:
        planted.executor.failing = {("rapid", str(spec), 0) for spec in planted.plan().specs}
        assert planted.run() == 3
        failed = planted.rows("SELECT count(*) AS n FROM trials WHERE state = 'failed'")[0]["n"]
        assert failed == len(planted.executor.jobs) == 3
        planted.executor.failing.clear()
        assert planted.run() == 0
        assert planted.rows("SELECT count(*) AS n FROM trials WHERE state = 'failed'")[0]["n"] == 3
        assert set(planted.executor.trained.values()) == {1}


class TestOtherScores:
    def test_the_last_weights_of_an_arm_are_scored_once_more_with_other_images(self, planted: PlantedStudy) -> None:
        study = planted.plan()
        also = (changed_score(study.arm("truth-1"), "num_images=8"),)
        assert planted.run(also, "truth-1") == planted.run(also, "truth-1") == 0
        fingerprint = study.truths[0].protocol.model_copy(update={"score": also[0]}).fingerprint
        extra = {key: count for key, count in planted.executor.scored.items() if key[1] == fingerprint}
        assert set(extra.values()) == {1} and len(extra) == 5
        assert {seed for _, _, seed in extra} == {1 + OTHER_IMAGES}
        assert set(planted.executor.trained.values()) == {1}

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("images=8", "--also-score 'images=8' is no change of a score; write num_images, sampling_steps, sampler"),
            ("num_images", "--also-score 'num_images' is no change of a score"),
            ("num_images=few", "--also-score 'num_images=few' is not a number; write --also-score num_images=16"),
            ("num_images=1", "--also-score 'num_images=1': a score needs at least 2 images"),
            ("sampling_steps=401", "'401' sampling steps are more than the 400"),
            ("sampler=best", "'best' is not a sampler"),
            ("num_images=16", "--also-score 'num_images=16' is how the study scores anyway"),
        ],
    )
    def test_a_change_that_cannot_be_is_refused(self, planted: PlantedStudy, text: str, sentence: str) -> None:
        with pytest.raises(UserError) as caught:
            changed_score(planted.plan().arms[0], text)
        assert str(caught.value).startswith(sentence)

    def test_several_changes_make_one_protocol(self, planted: PlantedStudy) -> None:
        found = changed_score(planted.plan().arms[0], "num_images=8, sampling_steps=1")
        assert (found.num_images, found.sampling_steps, found.sampler) == (8, 1, "ddim")


class TestFailedScores:
    def failing(self, planted: PlantedStudy, step: int) -> str:
        """Score a study in which one spec has no score at a step of the rapid arm; the spec."""
        spec = str(planted.plan().specs[2])

        def value(job: ScoreJob) -> float:
            if str(job.spec) == spec and job.protocol.strategy == RAPID.model_copy(update={"train_steps": step}):
                raise JobFailed("the score is nan")
            return quality(spec_of(job))

        planted.executor.value = value
        return spec

    def test_a_score_that_fails_on_the_way_is_remembered_as_none_and_not_tried_again(
        self, planted: PlantedStudy
    ) -> None:
        spec = self.failing(planted, 10)
        trained = planted.executor.train

        def train(job: Any, on_progress: Any) -> Any:
            job.run_folder.mkdir(parents=True, exist_ok=True)
            (job.run_folder / "ema-00000010.safetensors").touch()
            return trained(job, on_progress)

        planted.executor.train = train  # type: ignore[method-assign]
        assert planted.run() == 0
        assert planted.run() == 0
        rows = planted.rows("SELECT step, extra_json FROM scores WHERE value IS NULL")
        assert [(row["step"], json.loads(row["extra_json"])) for row in rows] == [(10, {"error": "the score is nan"})]
        assert planted.rows("SELECT count(*) AS n FROM trials WHERE state = 'failed'")[0]["n"] == 0
        with opened(planted.db, read_only=True) as db:
            found = measured_study(db, stored_study(db, "s"))
        assert [(row.arm, row.spec, row.steps) for row in found.failed] == [("rapid", spec, [10])]
        assert [row.failed for row in found.proxies] == [1, 0, 0, 0]

    def test_weights_that_are_not_there_are_no_failure_of_the_spec(self, planted: PlantedStudy) -> None:
        self.failing(planted, 10)
        with pytest.raises(UserError, match=r"the weights of step 10 are not in .*; start a study of another name"):
            planted.run()
        assert planted.rows("SELECT count(*) AS n FROM scores WHERE value IS NULL")[0]["n"] == 0
        assert planted.executor.stop.is_set()

    def test_a_score_that_fails_at_the_end_is_a_failed_trial(self, planted: PlantedStudy) -> None:
        spec = self.failing(planted, 20)
        assert planted.run() == 0
        rows = planted.rows("SELECT error FROM trials WHERE state = 'failed'")
        assert [row["error"] for row in rows] == ["the score is nan"]
        with opened(planted.db, read_only=True) as db:
            found = measured_study(db, stored_study(db, "s"))
        assert [(row.arm, row.spec, row.steps, row.why) for row in found.failed] == [
            ("rapid", spec, [20], "the score is nan")
        ]
