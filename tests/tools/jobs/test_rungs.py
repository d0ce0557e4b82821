"""Early stopping in a search: who is behind is stopped and remembered, and nothing that was trained is lost or paid
for twice.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from searches import TinySearch

from diffusion.settings import ScoreJob, TrainJob
from diffusion.statistics.pruning import DEFAULT, rung_protocol
from memory.connection import opened
from memory.ledger import totals
from memory.queries.progress import failures, search_counts
from memory.queries.records import best
from memory.trials import find_trial
from tools.errors import Interrupted, JobFailed

STEPS = 100
RUNGS = DEFAULT.rungs(STEPS)
BAD, GOOD = 100.0, 10.0


class Planted:
    """An executor whose trainings take a second a step and whose scores are planted, by the order of the specs."""

    def __init__(self, behind: tuple[int, ...] = (4,)) -> None:
        self.behind, self.specs = behind, list[str]()
        self.legs: list[tuple[str, int]] = []
        self.scored: list[tuple[str, int]] = []
        self.at_step: dict[str, int] = {}
        self.before_scoring: Callable[[str, int], None] = lambda spec, step: None

    def train(self, job: TrainJob, on_progress: Any) -> dict[str, Any]:
        spec = str(job.spec)
        if spec not in self.specs:
            self.specs.append(spec)
        self.at_step[spec] = max(self.at_step.get(spec, 0), job.last_step)
        self.legs.append((spec, job.last_step))
        return {"event": "done", "step": self.at_step[spec], "loss": 0.5, "device_seconds": float(self.at_step[spec])}

    def evaluate(self, job: ScoreJob, on_progress: Any) -> dict[str, Any]:
        spec, step = str(job.spec), job.protocol.strategy.train_steps
        self.before_scoring(spec, step)
        self.scored.append((spec, step))
        value = BAD if self.specs.index(spec) in self.behind else GOOD
        return {"step": step, "metric": "fid-digits-cnn", "value": value, "num_images": 16, "device_seconds": 0.5}

    def kill(self) -> None:
        """Nothing to kill."""


def search(folder: Path, **options: Any) -> TinySearch:
    planted = options.pop("executor", None) or Planted()
    settings = {"train_steps": STEPS, "rounds": 5, "prune": True, **options}
    return TinySearch(folder, settings, executor=planted)


def test_who_is_behind_is_stopped_at_the_first_rung_and_remembered_with_its_curve(tmp_path: Path) -> None:
    found = search(tmp_path)
    assert found.run() == "rounds"
    spec = found.executor.specs[4]
    assert [step for leg, step in found.executor.legs if leg == spec] == [RUNGS[0]]
    [pruned] = found.of("trial.pruned")
    assert pruned["spec"] == spec and pruned["step"] == RUNGS[0]
    assert pruned["curve"] == [{"step": RUNGS[0], "rfid": BAD}]
    with opened(found.db, read_only=True) as db:
        trial = find_trial(db, pruned["trial"])
        assert trial.state == "pruned" and trial.error == pruned["reason"] and "10.00 × 10" in pruned["reason"]
        assert (trial.training_state, trial.steps_done) == ("queued", RUNGS[0])
        assert trial.finished is not None
        assert spec not in [row["spec"] for row in best(db, found.search, limit=None)]
        assert search_counts(db, found.search)["pruned"] == 1
        assert failures(db, found.search)[0]["kind"] == "pruned"
        assert totals(db, found.search).device_seconds == 5 * STEPS + RUNGS[0] + 0.5 * len(found.executor.scored)
    rung = rung_protocol(found.plan.protocol, RUNGS[0]).fingerprint
    rows = found.rows("SELECT * FROM all_results WHERE protocol = ? ORDER BY trial", rung)
    assert [row["rfid"] for row in rows] == [GOOD] * 4 + [BAD, GOOD]
    assert found.of("search.finished")[0]["pruned"] == 1


def test_those_that_are_not_behind_are_trained_in_legs_to_their_end(tmp_path: Path) -> None:
    found = search(tmp_path, executor=Planted(behind=()), rounds=2)
    found.run()
    for spec in found.executor.specs:
        assert [step for leg, step in found.executor.legs if leg == spec] == [*RUNGS, STEPS]
        assert [step for scored, step in found.executor.scored if scored == spec] == [*RUNGS, STEPS]
    assert {row["state"] for row in found.rows("SELECT state FROM trials")} == {"scored"}


def test_without_it_nobody_is_looked_at_before_the_end(tmp_path: Path) -> None:
    found = search(tmp_path, prune=False)
    found.run()
    assert {step for _, step in found.executor.legs} == {step for _, step in found.executor.scored} == {STEPS}
    assert not found.of("trial.rung")


def test_the_baseline_is_never_stopped(tmp_path: Path) -> None:
    found = search(tmp_path, executor=Planted(behind=(0,)))
    found.run()
    assert not found.of("trial.pruned")


def test_a_stop_between_a_leg_and_its_score_trains_nothing_again(tmp_path: Path) -> None:
    found = search(tmp_path)

    def stop(spec: str, step: int) -> None:
        if spec == found.executor.specs[-1] and len(found.executor.specs) == 3:
            found.executor.before_scoring = lambda spec, step: None
            raise Interrupted

    found.executor.before_scoring = stop
    assert found.run() == "interrupted"
    assert found.run() == "rounds"
    assert len(found.executor.legs) == len(set(found.executor.legs))
    assert len(found.executor.scored) == len(set(found.executor.scored))


def test_a_rung_that_cannot_be_scored_stops_nobody(tmp_path: Path) -> None:
    found = search(tmp_path)

    def fail(spec: str, step: int) -> None:
        if found.executor.specs.index(spec) == 4 and step < STEPS:
            raise JobFailed("out of memory")

    found.executor.before_scoring = fail
    assert found.run() == "rounds"
    assert not found.of("trial.pruned") and not found.of("trial.failed")
    whys = [event["why"] for event in found.of("trial.rung")]
    assert [why for why in whys if "could not be scored (out of memory)" in why]


def test_a_training_that_was_stopped_goes_on_when_another_search_asks_for_it(tmp_path: Path) -> None:
    first = search(tmp_path)
    first.run()
    spec = first.executor.specs[4]
    other = search(tmp_path, executor=first.executor, baseline=spec, rounds=0, prune=False)
    first.executor.legs.clear()
    assert other.run() == "rounds"
    assert first.executor.legs == [(spec, STEPS)]
    with opened(other.db, read_only=True) as db:
        ledger = totals(db, other.search)
    assert ledger.device_seconds == STEPS - RUNGS[0] + 0.5  # its first leg is paid for
    states = other.rows("SELECT state, rfid FROM results WHERE spec = ? ORDER BY trial", spec)
    assert [tuple(row.values()) for row in states] == [("pruned", None), ("scored", BAD)]


def test_a_rung_is_scored_as_a_training_of_so_many_steps_at_an_eighth_of_the_cost(tmp_path: Path) -> None:
    protocol = search(tmp_path, num_images=2000, sampling_steps=50).plan.protocol
    rung = rung_protocol(protocol, 40)
    assert rung.strategy == protocol.strategy.model_copy(update={"train_steps": 40})
    assert (rung.score.num_images, rung.score.sampling_steps) == (500, 25)
    assert rung.fingerprint not in (protocol.fingerprint, rung_protocol(protocol, 70).fingerprint)
    few = protocol.model_copy(update={"score": protocol.score.model_copy(update={"num_images": 100})})
    assert rung_protocol(few, 40).score.num_images == 100


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm-solver++"])
def test_a_rung_respaces_every_sampler(tmp_path: Path, sampler: str) -> None:
    steps = 400 if sampler == "ddpm" else 50
    protocol = search(tmp_path, sampler=sampler, sampling_steps=steps).plan.protocol
    assert rung_protocol(protocol, 40).score.sampling_steps == steps // 2
    assert rung_protocol(protocol, 40).score.variance == ("fixed_small" if sampler == "ddpm" else None)


@pytest.mark.slow
def test_a_real_search_trains_in_legs_to_the_same_weights(tmp_path: Path) -> None:
    from inprocess import InProcessExecutor
    from trainings import same

    from diffusion.training.checkpoint import newest_checkpoint

    found = []
    for prune in (True, False):
        (tmp_path / str(prune)).mkdir()
        options = {"train_steps": 10, "rounds": 0, "dropout": 0.1, "prune": prune}
        one = TinySearch(tmp_path / str(prune), options, executor=InProcessExecutor())
        one.run()
        [row] = one.rows("SELECT run_folder FROM trainings")
        checkpoint = newest_checkpoint(one.db.parent / row["run_folder"])
        assert checkpoint is not None
        found.append(checkpoint)
    assert same(*found)
