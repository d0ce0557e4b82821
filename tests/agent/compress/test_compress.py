"""A trained network made cheaper, as it is typed: from a trial and from folders, interrupted anywhere, misused."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from teachers import counted, teacher
from typed import Inside, Typed, answering, found, seat, typed_in

from agent.report.tables import score
from diffusion.distill.folder import load_student
from diffusion.training.checkpoint import newest_checkpoint
from memory.connection import opened
from memory.trials import find_trial
from tools.errors import Interrupted

SPEC = "b8-n1-m1.2.2-a000"
TINY = ["--set", "batch_size=8", "--set", "num_images=16", "--set", "sampling_steps=3"]
LATENCY = {"first_ms": 2.0, "second_ms": 1.0, "ratio": 0.5, "turns": 5, "batch": 64}
QUICK = ["--candidates", "20", "--target", "0.55"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all tests of this file work, one after the other: a memory knows its runs by their whole paths."""
    return tmp_path_factory.mktemp("compress") / "place"


@pytest.fixture(scope="module")
def kept(place: Path) -> Path:
    """A trained teacher, trial 1."""
    place.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        seat(place, patch)
        assert typed_in(patch, "train", SPEC, "--train-steps", "6", *TINY) == 0
    return place.rename(place.with_name("kept"))


@pytest.fixture
def typed(
    kept: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Typed]:
    """Type a command beside a copy of the trained teacher: exit code, standard output, standard error."""
    shutil.copytree(kept, place)
    seat(place, monkeypatch)
    monkeypatch.setattr("agent.compress.loop.latencies", lambda *_: LATENCY)
    capsys.readouterr()
    yield answering(monkeypatch, capsys)
    shutil.rmtree(place)


def events(answer: tuple[int, str, str], code: int = 0) -> list[dict[str, Any]]:
    assert answer[0] == code, answer[2]
    return [json.loads(line) for line in answer[1].splitlines()]


def weights(trial: int) -> dict[str, torch.Tensor]:
    """The last state of a training."""
    with opened(Path("diffnas.db"), read_only=True) as db:
        checkpoint = newest_checkpoint(find_trial(db, trial).run_folder)
    assert checkpoint
    return dict(checkpoint.tensors)


def test_teacher_and_student_stand_side_by_side(typed: Typed) -> None:
    last = events(typed("compress", "1", *QUICK, "--seeds", "3", "--json"))[-1]
    assert (last["event"], last["reason"], last["method"]) == ("compress.finished", "rounds", "blockwise")
    teacher_found, student = last["teacher"], last["student"]
    assert teacher_found["trials"] == [2] and student["trials"] == [3, 4, 5]
    assert len(teacher_found["scores"]) == len(student["scores"]) == 3 == len({*student["scores"]})
    assert last["macs_share"] <= 0.55 and last["params_share"] <= 0.55
    assert last["ratio_ci95"][0] < last["ratio"] < last["ratio_ci95"][1] and last["latency"]["ratio"] == 0.5
    own = found(typed("evaluate", "2", "--json"))
    assert own["rfid"] == found(typed("evaluate", "1", "--json"))["rfid"]  # the teacher is trial 1, as it came
    status = found(typed("status", "--json"))
    assert (status["state"], status["trials"]["scored"]) == ("finished", 4)


def test_a_student_is_sampled_exported_and_drawn_with_by_diffusers(typed: Typed) -> None:
    events(typed("compress", "1", *QUICK, "--json"))
    assert found(typed("sample", "3", "--num-images", "2", "--json"))["num_images"] == 2
    assert found(typed("export", "3", "student", "--json"))["trial"] == 3
    student = load_student(Path("student"))
    assert counted(student).params < counted(teacher(SPEC, side=8)).params
    scheduler = DDPMScheduler.from_pretrained("student", subfolder="scheduler")
    pipeline = DDPMPipeline(student, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline(2, num_inference_steps=2, output_type="np").images.shape == (2, 8, 8, 1)
    same = ("--num-images", "2", "--sampling-steps", "3", "--json")
    drawn = [Path(found(typed("sample", each, *same))["folder"], "00000.png") for each in ("student", "3")]
    one, other = (np.asarray(Image.open(path), dtype=int) for path in drawn)
    assert one.shape == (8, 8) and abs(one - other).max() <= 1  # weights that are not trained multiply otherwise
    card = Path("student", "README.md").read_text()
    assert "load_student" in card and "| parameters |" in card and "%" in card
    last = found(typed("memory", "show", "3", "--json"))
    assert f"| `fid-digits-cnn`, 1 training seed | {score(last['rfid'])} |" in card
    assert "how much of it is noise takes 3 pairs" in card
    assert "![student.png](student.png)" in card
    with Image.open("student/teacher.png") as picture:
        assert picture.size[0] > 100
    assert Path("student", "student.png").read_bytes() != Path("student", "teacher.png").read_bytes()
    assert typed("compress", "3")[2].startswith("'3' is a student already")


@pytest.mark.parametrize("when", ["distill", "train", "evaluate"])
def test_an_interrupted_compression_goes_on_to_the_same_student(
    typed: Typed, kept: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    pool = ["--supernet-steps", "2"]
    events(typed("compress", "1", *QUICK, *pool, "--json"))
    straight = weights(3)
    for each in Path().iterdir():  # of which nothing may be taken up again
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    shutil.copytree(kept, Path(), dirs_exist_ok=True)
    real, calls = getattr(Inside, when), []

    def interrupted(self: Inside, job: Any, on_progress: Any) -> Any:
        calls.append(job)
        if len(calls) == 1:
            raise Interrupted
        return real(self, job, on_progress)

    monkeypatch.setattr(Inside, when, interrupted)
    assert typed("compress", "1", *QUICK, *pool, "--name", "stopped", "--json")[0] == 130
    last = events(typed("resume", "stopped", "--json"))[-1]
    assert last["event"] == "compress.finished" and last["reason"] == "rounds"
    again = weights(last["student"]["trials"][0])
    assert straight.keys() == again.keys() and all(torch.equal(straight[name], again[name]) for name in again)


@pytest.mark.parametrize("method", ["global", "magnitude", "torch-pruning", "random", "scratch"])
def test_every_method_makes_a_student(typed: Typed, method: str) -> None:
    last = events(typed("compress", "1", *QUICK, "--method", method, "--json"))[-1]
    assert last["method"] == method and last["params_share"] <= 0.55


def test_a_foreign_folder_is_a_teacher_once_its_data_are_named(typed: Typed) -> None:
    model = teacher("b8-n1-m1.2.2-a000", side=8)
    DDPMPipeline(model, DDPMScheduler(400, beta_start=2.5e-4, beta_end=0.05)).save_pretrained("foreign")
    code, _, err = typed("compress", "foreign", *QUICK)
    assert code == 2 and err == "'foreign' does not say what it was trained on; name the data with --dataset\n"
    settings = ["--dataset", "digits", "--train-steps", "4", *TINY]
    told = events(typed("compress", "foreign", *settings, *QUICK, "--json"))
    assert told[-1]["student"]["scores"][0] > 0
    (note,) = (event["text"] for event in told if event["event"] == "train.note")
    assert "what it draws is noise" in note  # its weights are random
    shutil.rmtree("foreign")
    assert found(typed("status", "--json"))["state"] == "finished"  # nothing of it is needed any more


def test_a_dry_run_says_the_costs_and_writes_nothing(typed: Typed) -> None:
    before = {*Path().rglob("*")}
    plan = found(typed("compress", "1", *QUICK, "--dry-run", "--json"))
    assert plan["macs"]["paper"] > 0 and 0 < plan["smallest"] < 0.55 and plan["units"] == 11
    assert plan["compression"]["loss"] == {"ramp": "early", "first": 0.0, "last": 1.0, "output": 0.0}
    new = {path.name for path in {*Path().rglob("*")} - before}
    assert new <= {"diffnas.db-shm", "diffnas.db-wal"}
    code, out, _ = typed("compress", "1", "--dry-run", "--beta", "0.5", "--method", "magnitude")
    assert code == 0 and "β 0.5" in out and "Nothing was written" in out


def damaged(change: Callable[[], None], *arguments: str) -> Callable[[Typed], str]:
    def play(typed: Typed) -> str:
        change()
        code, _, err = typed("compress", *arguments)
        assert code == 2, err
        return err

    return play


def conditional() -> None:
    UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8, 8), layers_per_block=1,
        norm_num_groups=4, down_block_types=("DownBlock2D",) * 3, up_block_types=("UpBlock2D",) * 3,
        num_class_embeds=10,
    ).save_pretrained("odd")  # fmt: skip


def of_three_channels() -> None:
    teacher(SPEC, side=8, channels=3).save_pretrained("odd")


def of_two_stages() -> None:
    UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8), layers_per_block=1,
        norm_num_groups=4, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    ).save_pretrained("odd")  # fmt: skip


def of_no_side() -> None:
    model = teacher(SPEC, side=8)
    model.save_pretrained("odd")
    config = json.loads(Path("odd", "config.json").read_text())
    Path("odd", "config.json").write_text(json.dumps(config | {"sample_size": None}))


def of_other_betas() -> None:
    model = teacher(SPEC, side=8)
    DDPMPipeline(model, DDPMScheduler(1000, beta_start=0.0015, beta_end=0.0195)).save_pretrained("odd")


def of_velocities() -> None:
    model = teacher(SPEC, side=8)
    DDPMPipeline(model, DDPMScheduler(1000, prediction_type="v_prediction")).save_pretrained("odd")


def no_unet() -> None:
    Path("odd").mkdir()
    Path("odd", "config.json").write_text('{"_class_name": "AutoencoderKL"}')


def nothing() -> None:
    pass


WRONG = {
    "'nowhere' is no folder": (nothing, "nowhere"),
    "'99' is not a trial": (nothing, "99"),
    "'odd' holds a AutoencoderKL": (no_unet, "odd", "--dataset", "digits"),
    "the teacher is told a class": (conditional, "odd", "--dataset", "digits"),
    "'odd' draws images of 8×8 with 3 channels": (of_three_channels, "odd", "--dataset", "digits"),
    "'odd' has stages of 8, 8 channels": (of_two_stages, "odd", "--dataset", "digits"),
    "the teacher does not say how wide": (of_no_side, "odd", "--dataset", "digits"),
    "'odd' has betas of its own, from 0.0015 to 0.0195": (of_other_betas, "odd", "--dataset", "digits"),
    "'odd' predicts v_prediction under": (of_velocities, "odd", "--dataset", "digits"),
    "'--target 0.1' is out of reach: the smallest student has 0.": (nothing, "1", "--target", "0.1"),
    "'--target 1.5' is no share": (nothing, "1", "--target", "1.5"),
    "'best' is not a method": (nothing, "1", "--method", "best"),
    "'--start supernet' needs supernets": (nothing, "1", "--start", "supernet"),
    "'--beta 2' is not within 0 and 1": (nothing, "1", "--beta", "2"),
    "'wild' is no ramp": (nothing, "1", "--ramp", "wild"),
    "'--seeds 0' trains nothing": (nothing, "1", "--seeds", "0"),
    "'--candidates 1' leaves no choice": (nothing, "1", "--candidates", "1"),
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_one_sentence(typed: Typed, words: str) -> None:
    change, *arguments = WRONG[words]
    said = damaged(change, *arguments)(typed)  # type: ignore[arg-type]
    assert said.startswith(words) and said.count("\n") == 1


def test_no_searcher_takes_a_student_for_a_spec(typed: Typed) -> None:
    events(typed("compress", "1", *QUICK, "--json"))
    protocols = {row["trial"]: row["protocol"] for row in found(typed("memory", "top", "--json"))}
    with opened(Path("diffnas.db"), read_only=True) as db:
        (own,) = db.conn.execute("SELECT protocol FROM searches WHERE id = 1").fetchone()
    assert own not in protocols.values() and set(protocols) == {2, 3}
