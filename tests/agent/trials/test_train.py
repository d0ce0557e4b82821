"""The parts of a search by hand, as they are typed: train, evaluate, sample, export, on tiny real networks."""

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typed import Inside, Typed, answering, found, seat, typed_in

from agent.estimate.calibration import Calibration
from diffusion.settings import TrainJob
from tools.errors import Interrupted, JobFailed

SPEC = "b8-n1-m1.1.1.1-a0000"
TINY = ["--set", "batch_size=8", "--set", "num_images=16", "--set", "sampling_steps=3"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all tests of this file work, one after the other: a memory knows its runs by their whole paths."""
    return tmp_path_factory.mktemp("by-hand") / "place"


@pytest.fixture(scope="module")
def kept(place: Path) -> tuple[Path, str]:
    """What a training of four steps leaves, with the weights of step 2 kept, and what it said."""
    place.mkdir()
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        seat(place, patch)
        assert typed_in(patch, "train", SPEC, "--train-steps", "4", "--snapshot-steps", "2", *TINY) == 0
    return place.rename(place.with_name("kept")), said.getvalue()


@pytest.fixture
def typed(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    """Type a command in an empty folder: exit code, standard output, standard error."""
    place.mkdir()
    seat(place, monkeypatch)
    yield answering(monkeypatch, capsys)
    shutil.rmtree(place)


@pytest.fixture
def trained(kept: tuple[Path, str], typed: Typed, place: Path) -> Typed:
    """Trial 1, trained once and copied for each test."""
    shutil.copytree(kept[0], place, dirs_exist_ok=True)
    return typed


def test_a_training_says_how_it_is_scored(kept: tuple[Path, str]) -> None:
    assert "diffnas-agent evaluate 1" in kept[1]


def test_a_training_by_hand_is_a_search_of_its_own_that_ends(trained: Typed) -> None:
    status = found(trained("status", "--json"))
    assert (status["state"], status["rounds"], status["backend"]) == ("finished", 0, "hand")
    assert status["trials"] == {"scored": 0, "failed": 0, "pruned": 0, "refused": 0, "trained": 1, "running": 0}
    assert status["ledger"]["device_seconds"] > 0 < status["ledger"]["wall_seconds"]


def test_neither_space_nor_budget_objects(typed: Typed) -> None:
    code, _, err = typed("train", "b12-n1-m1.1.1.5-a0000", "--train-steps", "1", *TINY, "--json")
    assert code == 0, err


def test_the_same_training_is_not_done_twice(trained: Typed) -> None:
    code, out, _ = trained("train", SPEC, "--train-steps", "4", *TINY, "--json")
    (started,) = [line for line in map(json.loads, out.splitlines()) if line["event"] == "trial.started"]
    assert (code, started["cached"], started["trial"]) == (0, True, 2)
    assert Inside.made
    assert Inside.made.trained == []


def test_a_score_is_kept_and_taken_once(trained: Typed) -> None:
    first = found(trained("evaluate", "1", "--json"))
    assert (first["metric"], first["step"], first["num_images"], first["ci95"]) == ("fid-digits-cnn", 4, 16, None)
    assert all(first[name] is not None for name in ("rfid", "kid", "kid_std", "precision", "recall", "grid"))
    assert found(trained("evaluate", "1", "--json")) == first
    assert Inside.made
    top = json.loads(trained("memory", "top", "--json")[1])
    assert [(row["trial"], row["rfid"], row["protocol"]) for row in top] == [(1, first["rfid"], first["protocol"])]


def test_another_protocol_is_another_fingerprint_and_is_never_mixed_in(trained: Typed) -> None:
    own = found(trained("evaluate", "1", "--json"))
    other = found(trained("evaluate", "1", "--reference-split", "test", "--sampler", "ddpm", "--json"))
    assert other["protocol"] != own["protocol"]
    assert "360 test images" in other["scored"]
    assert "3 ddpm steps (fixed_small)" in other["scored"]
    assert [row["rfid"] for row in json.loads(trained("memory", "top", "--json")[1])] == [own["rfid"]]
    there = json.loads(trained("memory", "top", "--protocol", other["protocol"], "--json")[1])
    assert [row["rfid"] for row in there] == [other["rfid"]]


def test_a_snapshot_scores_as_a_training_of_so_many_steps(trained: Typed) -> None:
    snapshot = found(trained("evaluate", "1", "--step", "2", "--json"))
    code, *_ = trained("train", SPEC, "--train-steps", "2", *TINY)
    assert code == 0
    whole = found(trained("evaluate", "2", "--json"))
    assert (snapshot["step"], snapshot["protocol"], snapshot["rfid"]) == (2, whole["protocol"], whole["rfid"])


def test_a_score_names_its_protocol_on_a_terminal(trained: Typed) -> None:
    code, out, _ = trained("evaluate", "1")
    protocol = found(trained("evaluate", "1", "--json"))["protocol"]
    assert code == 0
    assert f"protocol {protocol}" in out
    assert "fid-digits-cnn" in out
    assert "precision" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["evaluate", "7"], "'7' is not a trial of this memory; the latest is 1"),
        (["evaluate", "1", "--step", "3"], "'1': the weights of step 3 were not kept; there are those of 2, 4"),
        (["evaluate", "1", "--sampling-steps", "401"], "'401' sampling steps are more than the 400 of the diffusion"),
        (
            ["evaluate", "1", "--sampler", "euler"],
            "--sampler euler: input should be 'ddpm', 'iddpm', 'ddim' or 'dpm-solver++'",
        ),
        (["evaluate", "1", "--sampler", "iddpm"], "'iddpm' needs the learned variance of the family iddpm"),
        (["evaluate", "1", "--feature-network", "vgg"], "'vgg' is no feature network"),
        (["evaluate", "1", "--num-images", "1"], "--num-images 1: input should be greater than or equal to 2"),
        (["sample", "7"], "'7' is not a trial of this memory; the latest is 1"),
        (["sample", "nowhere"], "'nowhere'"),
        (["sample", "nowhere", "--step", "2"], "--step 2: 'nowhere' holds the weights of one step alone"),
        (["sample", "1", "--to", "/dev/null/x"], "'/dev/null/x' cannot be written"),
        (["export", "7", "model"], "'7' is not a trial of this memory; the latest is 1"),
        (["train", "b12"], "'b12' is not a spec"),
        (["train", SPEC, "--snapshot-steps", "2000"], "--snapshot-steps 2000: the training ends at step 600"),
        (["train", SPEC, "--snapshot-steps", "a,b"], "--snapshot-steps a,b: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence(trained: Typed, arguments: list[str], sentence: str) -> None:
    code, out, err = trained(*arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith(sentence), err
    assert err.count("\n") == 1


def test_a_data_set_without_test_images_cannot_be_the_reference(typed: Typed) -> None:
    np.savez("images.npz", np.zeros((4, 8, 8), np.uint8))
    few = ("--dataset", "images.npz", "--batch-size", "2", "--feature-network", "digits-cnn")
    code, _, err = typed("train", SPEC, *few, "--reference-split", "test")
    assert code == 2
    assert err.startswith("--reference-split test: 'images.npz' has 0 such images")


def test_damaged_weights_are_named(trained: Typed) -> None:
    (path,) = Path("runs").rglob("step-00000004.safetensors")
    path.write_bytes(path.read_bytes()[:2000])
    for command in ("evaluate", "sample"):
        code, _, err = trained(command, "1")
        assert (code, err.startswith("'1': the weights of step 4 are damaged; delete ")) == (2, True), err


@pytest.mark.parametrize("loss", ["cut", "deleted"])
def test_lost_weights_are_trained_anew_though_they_were_scored(trained: Typed, loss: str) -> None:
    before = found(trained("evaluate", "1", "--json"))
    (path,) = Path("runs").rglob("step-00000004.safetensors")
    if loss == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    else:
        shutil.rmtree(path.parent)
    assert trained("train", SPEC, "--train-steps", "4", *TINY)[0] == 0
    after = found(trained("evaluate", "2", "--sampling-seed", "1", "--json"))
    assert after["rfid"] != before["rfid"]
    assert found(trained("evaluate", "2", "--json"))["rfid"] == before["rfid"]


def test_weights_of_another_spec_are_named(trained: Typed) -> None:
    assert trained("train", "b16-n1-m1.1.1.1-a0000", "--train-steps", "4", *TINY)[0] == 0
    one, other = sorted(Path("runs").rglob("step-00000004.safetensors"), key=lambda path: path.stat().st_size)
    one.write_bytes(other.read_bytes())
    code, _, err = trained("evaluate", "1")
    assert code == 2
    assert "another" in err


def test_images_depend_on_seed_and_number_alone(trained: Typed) -> None:
    many = found(trained("sample", "1", "--num-images", "5", "--to", "many", "--json"))
    few = found(trained("sample", "1", "--num-images", "2", "--to", "few", "--json"))
    assert many | {"folder": "", "grid": "", "num_images": 0} == few | {"folder": "", "grid": "", "num_images": 0}
    assert sorted(path.name for path in Path("many").iterdir()) == [*(f"{i:05d}.png" for i in range(5)), "grid.png"]
    for index in range(2):
        pair = [np.asarray(Image.open(f"{folder}/{index:05d}.png"), np.int16) for folder in ("many", "few")]
        assert pair[0].shape == (8, 8)
        assert np.abs(pair[0] - pair[1]).max() <= 1
    assert found(trained("sample", "1", "--num-images", "1", "--json"))["folder"] == str(
        Path.cwd() / "runs/samples/trial-1-ddim-3-seed0"
    )


def test_an_exported_folder_is_sampled_as_its_trial_is(trained: Typed) -> None:
    assert found(trained("export", "1", "model", "--json"))["folder"] == "model"
    how = ("--num-images", "2", "--sampler", "ddpm", "--sampling-steps", "5", "--seed", "3")
    trained("sample", "1", *how, "--to", "trial")
    assert trained("sample", "model", *how, "--to", "folder")[0] == 0
    for index in range(2):
        pair = [np.asarray(Image.open(f"{folder}/{index:05d}.png"), np.int16) for folder in ("trial", "folder")]
        assert np.abs(pair[0] - pair[1]).max() <= 1


def test_the_card_says_the_score_as_the_search_takes_it_or_the_newest_of_that_step(trained: Typed) -> None:
    assert found(trained("export", "1", "none", "--json"))["rfid"] is None
    other = found(trained("evaluate", "1", "--sampler", "ddpm", "--json"))
    exported = found(trained("export", "1", "other", "--json"))
    assert (exported["rfid"], exported["protocol"]) == (other["rfid"], other["protocol"])
    own = found(trained("evaluate", "1", "--json"))
    exported = found(trained("export", "1", "own", "--json"))
    assert (exported["rfid"], exported["protocol"]) == (own["rfid"], own["protocol"])
    card = Path("own/README.md").read_text()
    assert own["protocol"] in card
    assert f"{own['rfid']:.4g}" in card


def test_a_folder_that_is_there_is_not_overwritten_unasked(trained: Typed) -> None:
    assert trained("export", "1", "model")[0] == 0
    code, _, err = trained("export", "1", "model")
    assert (code, err.startswith("'model'")) == (2, True)
    assert trained("export", "1", "model", "--replace", "--step", "2")[0] == 0
    assert json.loads(Path("model/diffnas.json").read_text())["step"] == 2


def test_an_interrupted_training_is_resumed_by_name(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Inside.train

    def stopped(self: Inside, job: TrainJob, on_progress: Any) -> Any:
        raise Interrupted

    monkeypatch.setattr(Inside, "train", stopped)
    code, out, _ = typed("train", SPEC, "--train-steps", "2", "--name", "one", *TINY)
    assert (code, out.splitlines()[-1]) == (130, "interrupted; go on with: diffnas-agent resume one")
    assert found(typed("status", "one", "--json"))["state"] == "interrupted"
    assert typed("evaluate", "1")[2].startswith("'1' is not trained yet")
    monkeypatch.setattr(Inside, "train", real)
    assert typed("resume", "one")[0] == 0
    assert found(typed("status", "one", "--json"))["trials"]["trained"] == 1


def test_a_failed_training_says_why_and_has_no_score(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(self: Inside, job: TrainJob, on_progress: Any) -> Any:
        raise JobFailed("the loss is nan at step 1")

    monkeypatch.setattr(Inside, "train", failed)
    code, out, _ = typed("train", SPEC, "--train-steps", "2", *TINY)
    assert code == 1
    assert "failed the loss is nan at step 1" in out
    assert typed("evaluate", "1")[2].startswith("'1' failed (the loss is nan at step 1)")


def test_what_a_training_would_cost_is_said_and_nothing_is_written(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.estimate.dry_run.calibrate", lambda job: Calibration(1.0, 2.0))
    plan = found(typed("train", SPEC, "--dry-run", "--json"))
    assert plan["baseline"] == SPEC
    assert plan["cost"]["search_macs_at_most"] == plan["cost"]["baseline_trial_macs"]
    assert list(Path.cwd().iterdir()) == []


def test_the_family_iddpm_is_trained_and_scored(typed: Typed) -> None:
    options = ["--family", "iddpm", "--set", "schedule=cosine", "--set", "sampler=iddpm", "--train-steps", "2"]
    assert typed("train", SPEC, *options, *TINY)[0] == 0
    score = found(typed("evaluate", "1", "--json"))
    assert "3 iddpm steps (learned_range)" in score["scored"]
    assert score["rfid"] > 0
