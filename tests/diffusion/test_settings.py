from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from diffusion import settings as settings_module
from diffusion.errors import UserError
from diffusion.settings import (
    Protocol,
    ScoreProtocol,
    Settings,
    Strategy,
    TrainJob,
    check_sampling_steps,
    digest,
    training_key,
)
from diffusion.spec import UNetSpec

SETTINGS = Settings(dataset="digits", resolution=8, channels=1)
STRATEGY = Strategy()
SCORE = ScoreProtocol(
    feature_network="digits-cnn",
    feature_sha256="f" * 64,
    feature_input_size=8,
    resize_filter="none",
    reference_count=1437,
    sampling_steps=50,
    num_images=1437,
)
PROTOCOL = Protocol(data_fingerprint="d" * 12, settings=SETTINGS, strategy=STRATEGY, score=SCORE)
JOB = TrainJob(
    spec=UNetSpec.parse("b8-n1-m1.2.2.2-a0100"),
    settings=SETTINGS,
    strategy=STRATEGY,
    seed=0,
    data_fingerprint="d" * 12,
    data_folder=Path("data"),
    run_folder=Path("run"),
)


def test_a_digest_is_the_start_of_the_sha256_of_canonical_json() -> None:
    # printf '{"a":[1,null],"b":"\\u00e9"}' | sha256sum
    assert digest({"b": "é", "a": [1, None]}) == "fdaff1fbea8b"
    assert digest({"a": [1, None], "b": "é"}) == digest({"b": "é", "a": [1, None]})


def test_a_number_that_json_cannot_hold_has_no_digest() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(float("nan"))


def name_of(change: dict[str, Any]) -> str:
    return next(iter(change))


CHANGED = [
    {"data_fingerprint": "e" * 12},
    {"settings": SETTINGS.model_copy(update={"family": "iddpm"})},
    {"settings": SETTINGS.model_copy(update={"horizontal_flips": True})},
    {"strategy": Strategy(dropout=0.0)},
    {"strategy": Strategy(train_steps=1001)},
]


@pytest.mark.parametrize(
    "change",
    [
        *CHANGED,
        *[
            {"score": SCORE.model_copy(update={name: value})}
            for name, value in {
                "feature_network": "inception-v3-compat",
                "feature_sha256": "0" * 64,
                "feature_input_size": 299,
                "resize_filter": "bicubic",
                "grey_to_rgb": "zero",
                "reference_split": "test",
                "reference_count": 360,
                "sampling_steps": 100,
                "num_images": 1000,
                "ema": False,
            }.items()
        ],
    ],
    ids=name_of,
)
def test_whatever_changes_a_score_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert PROTOCOL.model_copy(update=change).fingerprint != PROTOCOL.fingerprint


def test_a_fingerprint_is_of_the_content_and_survives_json() -> None:
    again = Protocol.model_validate_json(PROTOCOL.model_dump_json())
    assert again == PROTOCOL and again.fingerprint == PROTOCOL.fingerprint
    assert len(PROTOCOL.fingerprint) == 12 and int(PROTOCOL.fingerprint, 16) >= 0


@pytest.mark.parametrize(
    "change", [*CHANGED, {"seed": 1}, {"spec": UNetSpec.parse("b8-n1-m1.2.2.2-a0000")}], ids=name_of
)
def test_whatever_changes_the_weights_changes_the_key_of_a_training(change: dict[str, Any]) -> None:
    assert JOB.model_copy(update=change).key != JOB.key


@pytest.mark.parametrize(
    "change",
    [{"run_folder": Path("other")}, {"data_folder": Path("other")}, {"checkpoint_steps": 1}, {"log_steps": 1}],
    ids=name_of,
)
def test_where_a_training_lies_and_how_often_it_reports_does_not_change_its_key(change: dict[str, Any]) -> None:
    assert JOB.model_copy(update=change).key == JOB.key
    assert JOB.key == training_key(JOB.spec, JOB.settings, JOB.strategy, JOB.seed, JOB.data_fingerprint)


def test_another_code_version_is_another_training(monkeypatch: pytest.MonkeyPatch) -> None:
    before = JOB.key
    monkeypatch.setattr(settings_module, "CODE_VERSION", settings_module.CODE_VERSION + 1)
    assert JOB.key != before


def test_a_job_round_trips_through_json() -> None:
    assert TrainJob.model_validate_json(JOB.model_dump_json()) == JOB


@pytest.mark.parametrize(
    ("network", "metric"), [("inception-v3-compat", "fid"), ("digits-cnn", "fid-digits-cnn"), ("x", "fid-x")]
)
def test_only_inception_is_called_fid(network: str, metric: str) -> None:
    assert SCORE.model_copy(update={"feature_network": network}).metric == metric


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Settings, {"resolution": 12}),
        (Settings, {"resolution": 0}),
        (Settings, {"channels": 5}),
        (Settings, {"family": "adm"}),
        (Strategy, {"diffusion_steps": 49}),
        (Strategy, {"learning_rate": 0.0}),
        (Strategy, {"dropout": 1.0}),
        (Strategy, {"ema_decay": 1.0}),
        (Strategy, {"train_steps": 0}),
        (Strategy, {"momentum": 0.9}),
    ],
)
def test_values_that_make_no_sense_are_refused(kind: type[Settings | Strategy], change: dict[str, Any]) -> None:
    base: dict[str, Any] = {"dataset": "digits", "resolution": 8, "channels": 1} if kind is Settings else {}
    with pytest.raises(ValidationError, match=next(iter(change))):
        kind(**{**base, **change})


@pytest.mark.parametrize(("diffusion_steps", "sampling_steps"), [(400, 50), (400, 100), (1000, 1000), (50, 1)])
def test_sampling_steps_that_divide_the_diffusion_steps_are_fine(diffusion_steps: int, sampling_steps: int) -> None:
    check_sampling_steps(diffusion_steps, sampling_steps)


@pytest.mark.parametrize(
    ("diffusion_steps", "sampling_steps", "nearest"), [(400, 30, 25), (100, 29, 25), (50, 51, 50), (400, 90, 80)]
)
def test_other_sampling_steps_are_refused_with_the_nearest(
    diffusion_steps: int, sampling_steps: int, nearest: int
) -> None:
    with pytest.raises(UserError) as caught:
        check_sampling_steps(diffusion_steps, sampling_steps)
    assert str(caught.value) == f"'{sampling_steps}' sampling steps do not divide {diffusion_steps}; {nearest} would"


def test_the_word_that_data_was_asked_for_by_changes_neither_fingerprint_nor_key() -> None:
    renamed = {"settings": SETTINGS.model_copy(update={"dataset": "copies/digits.npz"})}
    assert PROTOCOL.model_copy(update=renamed).fingerprint == PROTOCOL.fingerprint
    assert JOB.model_copy(update=renamed).key == JOB.key
