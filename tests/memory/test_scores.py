from typing import Any

import pytest
from sqlite_utils import Database

from diffusion.settings import Settings
from memory.scores import Score, add_latency, find_latency, score_of


def test_a_measurement_is_kept_once_and_the_first_one_stays(fill: Any, search: int) -> None:
    training = fill.accept(search, 0).training
    assert fill.score(training, 3.0) == fill.score(training, 4.0)
    assert fill.rows("SELECT value FROM scores") == [(3.0,)]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_none(fill: Any, search: int, value: float | None) -> None:
    accepted = fill.accept(search, 0)
    fill.score(accepted.training, value)
    score = score_of(fill.db, accepted.training, fill.protocol.fingerprint)
    assert score == Score(None, "fid-digits-cnn", 600, 1000, 0, 2.0)


def test_the_score_of_a_training_is_the_mean_over_sampling_seeds(fill: Any, search: int) -> None:
    training = fill.accept(search, 0).training
    assert score_of(fill.db, training, fill.protocol.fingerprint) is None
    fill.score(training, 3.0)
    fill.score(training, 5.0, sampling_seed=1)
    fill.score(training, 90.0, step=100)
    score = score_of(fill.db, training, fill.protocol.fingerprint)
    assert score == Score(4.0, "fid-digits-cnn", 600, 1000, 2, 4.0)


def test_a_latency_is_kept_for_its_device_and_the_first_measurement_stays(db: Database, fill: Any) -> None:
    settings = Settings(dataset="digits", resolution=8, channels=1)
    for median_ms in (3.5, 9.0):
        add_latency(db, fill.spec, settings, "a cpu", 2, median_ms=median_ms, forwards=50)
    assert find_latency(db, fill.spec, settings, "a cpu", 2) == 3.5
    assert find_latency(db, fill.spec, settings, "a cpu", 1) is None
    assert find_latency(db, fill.spec, settings, "a gpu", 2) is None
