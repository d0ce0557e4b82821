from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from diffusion import settings as settings_module
from diffusion.errors import UserError
from diffusion.settings import (
    Family,
    Protocol,
    Sampler,
    Sampling,
    ScoreProtocol,
    Settings,
    Strategy,
    TrainJob,
    Variance,
    choose_sampling,
    digest,
    training_key,
)
from diffusion.spec import UNetSpec
from diffusion.training.settings import JobSettings

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
                "sampler": "dpm-solver++",
                "sampling_steps": 100,
                "variance": "fixed_small",
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
    [
        {"run_folder": Path("other")},
        {"data_folder": Path("other")},
        {"running": JobSettings(checkpoint_steps=1)},
        {"log_steps": 1},
        {"running": JobSettings(snapshot_steps=(1, 2))},
    ],
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


@pytest.mark.parametrize(
    ("sampler", "steps", "family", "variance"),
    [
        ("ddpm", 400, "ddpm", "fixed_large"),
        ("ddpm", 399, "ddpm", "fixed_small"),
        ("ddpm", 400, "iddpm", "fixed_large"),
        ("iddpm", 400, "iddpm", "learned_range"),
        ("iddpm", 30, "iddpm", "learned_range"),
        ("ddim", 50, "ddpm", None),
        ("ddim", 29, "iddpm", None),  # any number of steps, whether it divides or not
        ("ddim", 1, "ddpm", None),
        ("dpm-solver++", 20, "iddpm", None),
    ],
)
def test_ancestral_samplers_have_the_variance_that_suits_the_steps_and_others_have_none(
    sampler: Sampler, steps: int, family: Family, variance: Variance | None
) -> None:
    assert choose_sampling(sampler, steps, family, 400) == Sampling(sampler=sampler, steps=steps, variance=variance)


@pytest.mark.parametrize(
    ("sampler", "steps", "family", "sentence"),
    [
        ("ddim", 401, "ddpm", "'401' sampling steps are more than the 400 of the diffusion; take fewer"),
        ("ddpm", 4000, "iddpm", "'4000' sampling steps are more than the 400 of the diffusion; take fewer"),
        ("ddim", 0, "ddpm", "'0' sampling steps are too few; take at least 1"),
        ("euler", 50, "ddpm", "'euler' is not a sampler; there are ddpm, iddpm, ddim, dpm-solver++"),
        (
            "iddpm",
            50,
            "ddpm",
            "'iddpm' needs the learned variance of the family iddpm; take ddpm, ddim or dpm-solver++",
        ),
    ],
)
def test_a_sampling_that_cannot_be_is_refused_with_what_can(
    sampler: str, steps: int, family: Family, sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        choose_sampling(sampler, steps, family, 400)
    assert str(caught.value) == sentence


def test_a_protocol_says_how_its_images_are_drawn() -> None:
    sampling = Sampling(sampler="ddpm", steps=100, variance="fixed_small")
    score = SCORE.model_copy(update={"sampler": "ddpm", "sampling_steps": 100, "variance": "fixed_small"})
    assert score.sampling == sampling and SCORE.sampling == Sampling(sampler="ddim", steps=50)


def test_scores_and_trainings_of_the_first_version_are_still_found() -> None:
    """What version 0.1.0 stored under: fields that came later say nothing until they are set."""
    assert PROTOCOL.fingerprint == "3889c739a9db"
    assert JOB.key == "171bf0525030"


def test_the_word_that_data_was_asked_for_by_changes_neither_fingerprint_nor_key() -> None:
    renamed = {"settings": SETTINGS.model_copy(update={"dataset": "copies/digits.npz"})}
    assert PROTOCOL.model_copy(update=renamed).fingerprint == PROTOCOL.fingerprint
    assert JOB.model_copy(update=renamed).key == JOB.key


OF_AN_EARLIER_VERSION = """
{"spec":{"base_channel":8,"num_blocks":1,"channel_mult":[1,1,1,1],"attn":[false,false,false,false]},
"settings":{"dataset":"digits","resolution":8,"channels":1,"family":"ddpm","schedule":"linear","horizontal_flips":false},
"strategy":{"learning_rate":0.0002,"dropout":0.1,"diffusion_steps":1000,"batch_size":128,"warmup_steps":0,
"ema_decay":0.9999,"gradient_clip":1.0,"train_steps":600},"seed":3,"data_fingerprint":"0123456789ab",
"data_folder":"runs/data","run_folder":"runs/trainings/x","checkpoint_steps":200,"log_steps":20,"snapshot_steps":[300],
"threads":2,"processes":1,"precision":"fp32","compiled":false,"channels_last":false,"micro_batch_size":null,
"until_step":null,"log_with":"tensorboard","measures_peak":false}
"""  # as version 0.1.0 wrote it into a run folder and into the header of a checkpoint


def test_a_job_that_an_earlier_version_wrote_is_read_as_the_same_training() -> None:
    job = TrainJob.model_validate_json(OF_AN_EARLIER_VERSION)
    assert job.key == "bb229de0116d"
    assert job.running == JobSettings(checkpoint_steps=200, snapshot_steps=(300,), log_with="tensorboard")
    assert (job.threads, job.log_steps) == (2, 20)
    assert TrainJob.model_validate_json(job.model_dump_json()) == job


def test_what_no_job_ever_held_is_refused() -> None:
    with pytest.raises(ValidationError, match="patience"):
        TrainJob.model_validate_json(OF_AN_EARLIER_VERSION.replace('"seed"', '"patience":1,"seed"'))
