"""The search for what is left of a teacher, as a job: stopped or killed anywhere, it finds the same to the bit."""

import io
import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from inprocess import Never
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from teachers import teacher
from trainings import Process, prepared_job

from diffusion.distill.job import CHECKPOINT, Distillation, distill
from diffusion.distill.plan import SUPERNETS, DistillJob, Evolution, SupernetTraining
from diffusion.distill.search import judged
from diffusion.distill.supernet import supernets_of
from diffusion.distill.teacher import teacher_sha256
from diffusion.distill.units import Choice, units_of
from diffusion.errors import TrainingFailed, UserError
from diffusion.training.child import STOPPED, Lines

MODEL = teacher("b4-n1-m1.2.2-a000", side=8)
METHODS = ("blockwise", "global", "magnitude", "torch-pruning", "random", "scratch")


class After:
    """Somebody asks for a stop when the job looks for the so-manieth time."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    @property
    def asked(self) -> bool:
        self.left -= 1
        return self.left < 0


def job(folder: Path, **changes: Any) -> DistillJob:
    """A small search in a folder; the teacher and the images lie beside its results."""
    folder.mkdir(exist_ok=True)
    if not (folder / "teacher").exists():
        MODEL.save_pretrained(folder / "teacher")
    given = prepared_job(folder)
    known: dict[str, Any] = {
        "teacher": folder / "teacher",
        "teacher_sha256": teacher_sha256(folder / "teacher"),
        "settings": given.settings,
        "diffusion_steps": 50,
        "data_folder": given.data_folder,
        "data_fingerprint": given.data_fingerprint,
        "run_folder": folder / "run",
        "target": 0.6,
        "training": SupernetTraining(steps=4, learning_rate=5e-3),
        "evolution": Evolution(evaluations=12, population=6, contestants=3),
        "batch_size": 8,
        "calibration_images": 16,
        "candidates": 30,
        "checkpoint_steps": 2,
    }
    return DistillJob(**{**known, **changes})


def played(job: DistillJob, stop: Any = None) -> list[dict[str, Any]]:
    """Run a job here; what it said."""
    stream = io.StringIO()
    distill(job.model_dump_json(), Lines(stream), stop or Never())  # type: ignore[arg-type]
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def found(job: DistillJob) -> dict[str, Any]:
    """All that was found, but for how long it took."""
    read: dict[str, Any] = json.loads(job.found.read_bytes())
    return {name: value for name, value in read.items() if name != "device_seconds"}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> DistillJob:
    """A search by blocks that nobody interrupted."""
    made = job(tmp_path_factory.mktemp("straight"))
    played(made)
    return made


@pytest.mark.parametrize("looks", [0, 1, 3, 40, 100])
def test_a_search_that_was_stopped_anywhere_finds_the_same_to_the_bit(
    tmp_path: Path, straight: DistillJob, looks: int
) -> None:
    stopped = job(tmp_path)
    said = played(stopped, After(looks))
    assert not stopped.found.exists() and said[-1:] != [{"event": "done"}]
    assert played(stopped)[-1]["event"] == "done"
    assert found(stopped) == found(straight)
    pools = [(each.run_folder / SUPERNETS).read_bytes() for each in (stopped, straight)]
    assert pools[0] == pools[1]


@pytest.mark.parametrize("method", METHODS)
def test_what_every_method_finds_is_within_the_target_in_both_costs(tmp_path: Path, method: Any) -> None:
    made = job(tmp_path, method=method, training=SupernetTraining(steps=0))
    done, result = played(made)[-1], found(made)
    whole = job(tmp_path, method="magnitude", target=1.0)
    played(whole)
    costs, limit = found(whole), 0.6
    assert result["macs_paper"] <= limit * costs["macs_paper"] and result["params"] <= limit * costs["params"]
    assert done["event"] == "done" and done["params"] == result["params"]
    assert set(result["choices"]) == {unit.name for unit in units_of(MODEL)}
    assert (result["loss"] is None) == (method not in ("blockwise", "global"))
    assert played(made)[-1] == done  # it is not done again
    assert bool(result["curve"]) == (method == "blockwise")


def test_the_whole_teacher_is_what_is_left_without_a_limit(tmp_path: Path) -> None:
    made = job(tmp_path, target=1.0, training=SupernetTraining(steps=0))
    played(made)
    assert found(made)["loss"] == pytest.approx(0.0, abs=1e-9)
    choices = {name: Choice.model_validate(each) for name, each in found(made)["choices"].items()}
    assert all(choices[unit.name].width in (0, unit.outputs) for unit in units_of(MODEL))


def test_no_supernet_learns_from_an_image_that_students_are_judged_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Distillation(job(tmp_path), Lines(None), Never())  # type: ignore[arg-type]
    taken: dict[str, set[int]] = {}
    monkeypatch.setattr(made, "_noised", lambda which, purpose, _: taken.setdefault(purpose, set()).update(which))
    for step in range(30):
        made.training_batch(step)
    list(made.calibration())
    learned, judged = taken["pool noise"], taken["calibration noise"]
    assert len(learned) == 34 and len(judged) == 16 and not learned & judged


def test_candidates_are_judged_once_for_all_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = job(tmp_path), job(tmp_path, target=0.8)
    assert first.pool_key == second.pool_key and first.key != second.key
    played(first)
    monkeypatch.setattr("diffusion.distill.job.judged", lambda *_: pytest.fail("judged again"))
    played(second)
    assert found(second)["loss"] < found(first)["loss"]
    seconds = [json.loads(each.found.read_bytes())["device_seconds"] for each in (first, second)]
    assert seconds[1] < seconds[0]  # what trained the pool is not spent again


def test_the_time_of_judging_before_a_kill_counts(tmp_path: Path) -> None:
    made = job(tmp_path)
    played(made)
    made.found.unlink()  # as if it had been killed after the last block
    path = max(made.run_folder.glob("judged-*.json"), key=lambda each: json.loads(each.read_text())["seconds"])
    before = json.loads(path.read_text())
    path.write_text(json.dumps(before | {"seconds": 1_000.0}))
    played(made)
    assert 1_000 < json.loads(made.found.read_bytes())["device_seconds"] < 1_100


def test_keys_know_what_decides_and_not_how_it_is_computed(tmp_path: Path) -> None:
    made = job(tmp_path)
    same = made.model_copy(update={"threads": 2, "checkpoint_steps": 7, "run_folder": tmp_path, "teacher": tmp_path})
    assert (same.key, same.pool_key) == (made.key, made.pool_key)
    for change in ({"seed": 1}, {"calibration_images": 8}, {"training": SupernetTraining(steps=5)}):
        other = made.model_copy(update=change)
        assert other.key != made.key and other.pool_key != made.pool_key


def test_what_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"teacher_sha256": "0" * 64}, TrainingFailed, "holds another network than the one"),
        ({"target": 0.05}, UserError, r"'--target 0\.05' is out of reach: the smallest student has 0\.\d+"),
        ({"teacher": tmp_path / "nowhere"}, UserError, "'.*nowhere' is no folder"),
    ]
    for changes, error, words in cases:
        with pytest.raises(error, match=words):
            played(job(tmp_path, training=SupernetTraining(steps=0), **changes))


def test_images_of_another_shape_are_refused(tmp_path: Path) -> None:
    made = job(tmp_path)
    teacher("b4-n1-m1.2.2-a000", side=16).save_pretrained(tmp_path / "teacher")
    sha = teacher_sha256(tmp_path / "teacher")
    with pytest.raises(UserError, match=r"takes 1×16×16, the data are \(1, 8, 8\)"):
        played(made.model_copy(update={"teacher_sha256": sha}))


def test_weights_of_another_search_are_not_gone_on_from(tmp_path: Path) -> None:
    made = job(tmp_path)
    played(made, After(2))
    assert (made.run_folder / CHECKPOINT).exists()
    with pytest.raises(TrainingFailed, match="is of another search"):
        played(made.model_copy(update={"seed": 1}))


@pytest.mark.slow
def test_a_process_that_is_stopped_or_killed_goes_on_to_the_same_student(tmp_path: Path, straight: DistillJob) -> None:
    rng = random.Random(0)
    for number, how in enumerate([signal.SIGTERM, *[signal.SIGKILL] * 10]):
        made = job(tmp_path / str(number))
        child = Process(made, "diffusion.distill.job")
        child.next_line()
        time.sleep(rng.uniform(0, 0.4))
        child.process.send_signal(how)
        assert child.wait() in (0, STOPPED, -how)
        again = Process(made, "diffusion.distill.job")
        assert again.wait() == 0
        assert found(made) == found(straight)


def test_without_training_the_slices_of_the_teacher_are_judged(tmp_path: Path) -> None:
    made = job(tmp_path, training=SupernetTraining(steps=0))
    played(made)
    search = Distillation(made, Lines(None), Never())  # type: ignore[arg-type]
    for name, net in supernets_of(search.teacher).items():
        sliced = judged(net, search._calls[name], search._place, made.candidates).as_json()
        kept = json.loads((made.run_folder / f"judged-{name}.json").read_text())
        assert kept.pop("seconds") > 0 and kept == json.loads(json.dumps(sliced))
    weights = load_file(made.run_folder / SUPERNETS)
    assert weights.keys() == MODEL.state_dict().keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in MODEL.state_dict().items())


@pytest.mark.parametrize("method", ["blockwise", "global"])
def test_judgements_of_another_search_are_not_taken_where_nothing_was_trained(tmp_path: Path, method: Any) -> None:
    made = job(tmp_path, method=method, training=SupernetTraining(steps=0))
    played(made)
    with pytest.raises(TrainingFailed, match="is of another search"):
        played(made.model_copy(update={"seed": 1}))


@pytest.mark.parametrize("method", ["blockwise", "global"])
@pytest.mark.parametrize("steps", [1, 4])
def test_supernets_that_diverge_are_one_sentence(tmp_path: Path, method: Any, steps: int) -> None:
    made = job(tmp_path, method=method, training=SupernetTraining(steps=steps, learning_rate=1e20))
    with pytest.raises(TrainingFailed, match="not finite; a lower learning rate may help"):
        played(made)


def test_files_that_are_missing_or_cut_are_one_sentence(tmp_path: Path) -> None:
    made = job(tmp_path)
    played(made, After(4))
    checkpoint = made.run_folder / CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(TrainingFailed, match="is cut or damaged"):
        played(made)
    (made.teacher / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match="is missing; name another teacher"):
        played(made)


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("diffusion.training.checkpoint.save_file", full)
    with pytest.raises(TrainingFailed, match=r"^no space left on device while saving step 0"):
        played(job(tmp_path))


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_the_step_at_which_it_is_stopped_is_saved(tmp_path: Path, looks: int) -> None:
    made = job(tmp_path, checkpoint_steps=50)
    said = played(made, After(looks))
    with safe_open(made.run_folder / CHECKPOINT, framework="pt") as file:
        assert int(file.metadata()["step"]) == said[-1]["step"] > 0


def test_the_step_at_which_nobody_listens_any_more_is_saved(tmp_path: Path) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    made = job(tmp_path, checkpoint_steps=50)
    assert not distill(made.model_dump_json(), Lines(Closed()), Never())  # type: ignore[arg-type]
    with safe_open(made.run_folder / CHECKPOINT, framework="pt") as file:
        assert file.metadata()["step"] == "1"


def test_a_stop_is_heard_before_a_block_is_judged_to_its_end(tmp_path: Path) -> None:
    made = job(tmp_path, training=SupernetTraining(steps=0))
    assert played(made, After(3)) == [] and not list(made.run_folder.glob("judged-*.json"))
