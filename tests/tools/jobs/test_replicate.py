"""The noise floor: the baseline is trained with further seeds, once, and each trial is judged by what they show."""

from pathlib import Path
from typing import Any

import pytest
from planted import BASELINE, STEPS, Planted
from searches import TinySearch

from diffusion.statistics.noise import pooled_noise, trial_verdicts
from memory.connection import opened
from memory.ledger import totals
from memory.queries.records import best
from memory.replicas import replicas_of, seed_scores
from tools.errors import Interrupted, JobFailed


def search(folder: Path, **options: Any) -> TinySearch:
    executor = options.pop("executor", None) or Planted()
    return TinySearch(folder, {"replicas": 3, "train_steps": STEPS, **options}, executor=executor)


def test_the_baseline_is_trained_and_sampled_with_further_seeds_before_anything_is_proposed(tmp_path: Path) -> None:
    found = search(tmp_path)
    assert found.run() == "rounds"
    baseline = found.executor.specs[0]
    assert sorted(found.executor.trained[:3]) == [(baseline, 0), (baseline, 1), (baseline, 2)]
    assert sorted(found.executor.scored[:3]) == [(baseline, 0, 0), (baseline, 1, 1), (baseline, 2, 2)]
    assert len(found.executor.trained) == 6
    with opened(found.db, read_only=True) as db:
        assert seed_scores(db, found.search)[baseline] == [100.0, 102.0, 98.0]
        assert totals(db, found.search).device_seconds == 6 * 11.0
        assert len(best(db, found.search, limit=None)) == 4  # replicas are no trials of their own
    assert sorted(event["rfid"] for event in found.of("replica.scored")) == [98.0, 102.0]


def test_each_trial_is_judged_by_the_noise_of_the_replicas(tmp_path: Path) -> None:
    found = search(tmp_path)
    found.run()
    noise = pooled_noise({"baseline": list(BASELINE.values())})
    assert noise is not None
    events = {event["rfid"]: event for event in found.of("trial.scored")}
    assert events[100.0]["ci95"] is None and events[100.0]["verdict"]["baseline"] == "unmeasured"
    for value, incumbent in ((50.0, list(BASELINE.values())), (99.0, [50.0]), (200.0, [50.0])):
        said = trial_verdicts(noise, value, list(BASELINE.values()), incumbent, 3)
        expected = {"baseline": said.baseline.answer, "incumbent": said.incumbent.answer}
        assert events[value]["verdict"] == expected
        assert events[value]["ci95"][0] < value < events[value]["ci95"][1]
    assert [events[value]["verdict"]["baseline"] for value in (50.0, 99.0, 200.0)] == [
        "better",
        "inconclusive",
        "worse",
    ]
    with opened(found.db, read_only=True) as db:
        rows = {row["rfid"]: row for row in best(db, found.search, limit=None)}
    assert all(rows[value]["verdict"] == events[value]["verdict"] for value in (50.0, 99.0, 200.0))
    assert rows[50.0]["ci95"] == events[50.0]["ci95"]


@pytest.mark.parametrize("replicas", [1, 2])
def test_with_fewer_than_three_seeds_nothing_is_claimed(tmp_path: Path, replicas: int) -> None:
    found = search(tmp_path, replicas=replicas)
    found.run()
    for event in found.of("trial.scored"):
        assert event["ci95"] is None and set(event["verdict"].values()) == {"unmeasured"}


def test_a_stop_between_two_replicas_trains_none_twice(tmp_path: Path) -> None:
    found = search(tmp_path)

    def stop(spec: str, seed: int) -> None:
        if seed == 2:
            found.executor.before_training = lambda spec, seed: None
            raise Interrupted

    found.executor.before_training = stop
    assert found.run() == "interrupted"
    assert found.run() == "rounds"
    assert len(found.executor.trained) == len(set(found.executor.trained)) == 6
    assert len(found.executor.scored) == len(set(found.executor.scored)) == 6


def test_a_replica_that_fails_is_remembered_and_the_search_goes_on(tmp_path: Path) -> None:
    found = search(tmp_path)

    def fail(spec: str, seed: int) -> None:
        if seed == 1:
            raise JobFailed("the loss is nan at step 1")

    found.executor.before_training = fail
    assert found.run() == "rounds"
    with opened(found.db, read_only=True) as db:
        found_there = sorted(replicas_of(db, found.search), key=lambda each: each.seed)  # they run side by side
        assert [(each.seed, each.state, each.error) for each in found_there] == [
            (1, "failed", "the loss is nan at step 1"),
            (2, "scored", None),
        ]
        assert seed_scores(db, found.search)[found.executor.specs[0]] == [100.0, None, 98.0]
    assert set(found.of("trial.scored")[1]["verdict"].values()) == {"unmeasured"}


def test_a_verdict_is_said_once(tmp_path: Path) -> None:
    import sqlite3

    found = search(tmp_path)
    found.run()
    with opened(found.db) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.conn.execute("UPDATE verdicts SET baseline = 'better'")
