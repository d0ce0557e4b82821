"""The race at the end of a search: the best get fresh seeds, once, and only what those show is claimed."""

from pathlib import Path
from typing import Any

import pytest
from planted import STEPS, Planted
from searches import TinySearch

from memory.connection import opened
from tools.errors import Interrupted
from tools.executors.machine import Machine, Node
from tools.jobs.race import field_of

REPLICAS, ALLOWANCE = 3, 12


class Noisy(Planted):
    """Every spec moves by 1 % with the training seed; the first score of one candidate was lucky."""

    lucky: int | None = None

    def evaluate(self, job: Any, on_progress: Any) -> dict[str, Any]:
        place, seed = self.specs.index(str(job.spec)), self.seeds[job.run_folder]
        self.scored.append((str(job.spec), seed, job.sampling_seed))
        value = (self.values[place] if place else 100.0) * (1 + 0.01 * ((seed * 2 + place) % 3 - 1))
        if place == self.lucky and seed == 0:
            value *= 0.9
        return {"step": STEPS, "metric": "fid-digits-cnn", "value": value, "num_images": 16, "device_seconds": 1.0}


def search(folder: Path, executor: Noisy, **options: Any) -> TinySearch:
    settings = {"replicas": REPLICAS, "race_trainings": ALLOWANCE, "train_steps": STEPS, **options}
    return TinySearch(folder, settings, executor=executor)


def test_a_candidate_that_is_better_is_recommended_after_fresh_seeds(tmp_path: Path) -> None:
    found = search(tmp_path, Noisy((50.0, 80.0, 200.0)))
    assert found.run() == "rounds"
    [said] = found.of("race.finished")
    assert said["recommended"] == said["winner"] == found.executor.specs[1]
    assert said["verdict"] == "better" and said["ratio_ci"][1] < 1
    raced = {spec for spec, seed in found.executor.trained if seed and spec != found.executor.specs[0]}
    assert found.executor.specs[3] not in raced  # clearly worse than the best by its first score


def test_a_lucky_first_score_is_not_believed(tmp_path: Path) -> None:
    executor = Noisy((100.0, 100.0, 100.0))
    executor.lucky = 2
    found = search(tmp_path, executor)
    found.run()
    [said] = found.of("race.finished")
    assert said["recommended"] == found.executor.specs[0]
    assert "nothing beat it beyond noise" in said["why"]


def test_the_allowance_bounds_the_trainings_of_the_race(tmp_path: Path) -> None:
    for allowance in (0, 1, 5, 12):
        (tmp_path / str(allowance)).mkdir()
        found = search(tmp_path / str(allowance), Noisy((98.0, 99.0, 97.0)), race_trainings=allowance)
        found.run()
        assert len(found.executor.trained) <= 4 + REPLICAS - 1 + allowance
        assert bool(found.of("race.finished")) == bool(allowance)


def test_a_race_that_was_stopped_goes_on_and_trains_nothing_twice(tmp_path: Path) -> None:
    found = search(tmp_path, Noisy((98.0, 99.0, 97.0)))
    left = [8]

    def stop(spec: str, seed: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Interrupted

    found.executor.before_training = stop
    assert found.run() == "interrupted"
    assert found.run() == "rounds"
    assert len(found.executor.trained) == len(set(found.executor.trained))
    alone = tmp_path / "alone"
    alone.mkdir()
    other = search(alone, Noisy((98.0, 99.0, 97.0)))
    other.run()
    assert found.of("race.finished") == other.of("race.finished")
    assert set(found.executor.trained) == set(other.executor.trained)


def test_the_trainings_of_a_wave_run_side_by_side_each_with_its_share_of_the_machine(tmp_path: Path) -> None:
    executor = Noisy((98.0, 200.0))
    seen: list[tuple[int, int]] = []  # seed and threads
    train = executor.train

    def watched(job: Any, on_progress: Any) -> dict[str, Any]:
        seen.append((job.seed, job.threads))
        return train(job, on_progress)

    executor.train = watched  # type: ignore[method-assign]
    found = search(tmp_path, executor, rounds=2, race_trainings=5, parallel="auto")
    found.machine = Machine((Node(2),))
    found.run()
    waves = [threads for seed, threads in seen[REPLICAS + 2 :]]
    assert waves[:4] == [1, 1, 1, 1]  # two of the baseline and two of the only finalist, in pairs
    assert waves[4:] in ([], [2])  # a last one is alone


@pytest.mark.parametrize("candidates", [(), (50.0,)])
def test_a_race_needs_a_candidate(tmp_path: Path, candidates: tuple[float, ...]) -> None:
    found = search(tmp_path, Noisy(candidates), rounds=len(candidates))
    found.run()
    with opened(found.db, read_only=True) as db:
        assert (field_of(db, found.search, REPLICAS, ALLOWANCE) is None) == (not candidates)
    assert len(found.of("race.finished")) == len(candidates)
