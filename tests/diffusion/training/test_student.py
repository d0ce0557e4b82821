"""A student as a training: what it begins as, what it learns from, and that it goes on to the bit."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from teachers import counted, random_choices, teacher
from trainings import prepared_job, same

from diffusion.distill.retraining import NOISE_ALONE, JointLoss, Student
from diffusion.distill.student import ranked_channels, sliced
from diffusion.distill.teacher import teacher_sha256
from diffusion.distill.units import units_of
from diffusion.errors import TrainingFailed
from diffusion.scores.networks import file_sha256
from diffusion.settings import TrainJob
from diffusion.spec import UNetSpec
from diffusion.training.checkpoint import ema_model, newest_checkpoint
from diffusion.training.child import Lines
from diffusion.training.job import train
from diffusion.training.network import first_network, macs_of
from diffusion.training.settings import JobSettings
from diffusion.training.trainer import Trainer

TEXT = "b8-n1-m1.2.2.2-a0100"
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8)).astype(np.uint8)
MODEL = teacher(TEXT, side=8)
UNITS = units_of(MODEL)
WHOLE = {unit.name: unit.whole for unit in UNITS}
SMALLER = random_choices(UNITS, 5)


@dataclass
class Stop:
    asked: bool = False


def student(folder: Path, **changes: Any) -> Student:
    weights = folder / "teacher" / "diffusion_pytorch_model.safetensors"
    if not weights.exists():
        MODEL.save_pretrained(folder / "teacher")
    digest = file_sha256(weights)
    known = teacher_sha256(folder / "teacher")
    made = {"teacher": folder / "teacher", "teacher_sha256": known, "choices": SMALLER, "start": weights}
    return Student(**made | {"start_sha256": digest} | changes)


def job(folder: Path, student: Student, **changes: Any) -> TrainJob:
    seed, changes = changes.pop("seed", 0), {"train_steps": 12} | changes
    found = prepared_job(folder, spec=UNetSpec.parse(TEXT), **changes)
    return found.model_copy(update={"student": student, "seed": seed})


def losses(job: TrainJob, steps: int = 1) -> list[float]:
    trainer = Trainer(job, IMAGES, Accelerator())
    return [report.loss.item() for report in islice(trainer.steps(), steps)]


def test_it_begins_with_the_weights_that_matter_most_to_the_teacher(tmp_path: Path) -> None:
    wide = teacher(TEXT, side=8)
    with torch.no_grad():
        for parameter in wide.parameters():
            parameter.mul_(torch.rand_like(parameter))  # as supernets change it: its own channels rank otherwise
    save_file({name: tensor.clone() for name, tensor in wide.state_dict().items()}, tmp_path / "start.safetensors")
    start = {"start": tmp_path / "start.safetensors", "start_sha256": file_sha256(tmp_path / "start.safetensors")}
    found = first_network(job(tmp_path, student(tmp_path, **start)))
    expected = sliced(wide, SMALLER, ranked_channels(MODEL, UNITS)).state_dict()
    other = sliced(wide, SMALLER).state_dict()
    assert found.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.state_dict().items())
    assert any(not torch.equal(tensor, expected[name]) for name, tensor in other.items())
    assert all(parameter.requires_grad for parameter in found.parameters())


def test_without_a_start_it_begins_at_random_and_predicts_nothing(tmp_path: Path) -> None:
    from_scratch = student(tmp_path, start=None, start_sha256=None)
    one, again, other = (first_network(job(tmp_path, from_scratch, seed=seed)) for seed in (0, 0, 1))
    images, steps = torch.randn(2, 1, 8, 8), torch.tensor([1, 40])
    assert not one(images, steps).sample.any()
    weights = [network.conv_in.weight for network in (one, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    narrow = next(name for name, choice in SMALLER.items() if choice.width and choice.kernel == 1)
    conv = one.get_submodule(narrow).conv1
    assert conv.weight.abs().max() <= conv.in_channels**-0.5  # torch's bound for a kernel of 1 × 1
    assert conv.weight.abs().max() > 0.8 * conv.in_channels**-0.5


def test_the_whole_teacher_has_nothing_to_learn_from_itself_at_first(tmp_path: Path) -> None:
    told = student(tmp_path, choices=WHOLE, loss=JointLoss(ramp="constant", last=0.0))
    assert losses(job(tmp_path, told, dropout=0.0))[0] < 1e-9  # with gradients torch attends by other kernels


def test_beta_rises_over_the_training_and_the_noise_alone_needs_no_teacher(tmp_path: Path) -> None:
    ramped = losses(job(tmp_path, student(tmp_path, loss=JointLoss()), dropout=0.0), steps=3)
    blocks = losses(job(tmp_path, student(tmp_path, loss=JointLoss(ramp="constant", last=0.0)), dropout=0.0), steps=3)
    assert ramped[0] == blocks[0] and ramped[1:] != blocks[1:]
    alone = Trainer(job(tmp_path, student(tmp_path, loss=NOISE_ALONE)), IMAGES, Accelerator())
    assert alone.teacher is None


def test_a_stopped_retraining_goes_on_to_the_bit(tmp_path: Path) -> None:
    running = JobSettings(checkpoint_steps=4)
    straight = job(tmp_path, student(tmp_path), running=running)
    assert train(straight.model_dump_json(), Lines(None), Stop())  # type: ignore[arg-type]
    stopped = straight.model_copy(update={"run_folder": tmp_path / "again", "until_step": 5})
    assert train(stopped.model_dump_json(), Lines(None), Stop())  # type: ignore[arg-type]
    assert train(stopped.model_copy(update={"until_step": None}).model_dump_json(), Lines(None), Stop())  # type: ignore[arg-type]
    one, other = newest_checkpoint(straight.run_folder), newest_checkpoint(tmp_path / "again")
    assert one and other and one.step == other.step == straight.strategy.train_steps
    assert same(one, other)
    cost = counted(ema_model(one))
    assert cost.macs_total == macs_of(straight) and cost.params < counted(MODEL).params


def test_another_teacher_or_start_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    for changed, what in (
        ({"teacher_sha256": "0" * 64}, "another network"),
        ({"start_sha256": "0" * 64}, "other weights"),
    ):
        with pytest.raises(TrainingFailed, match=rf"holds {what} than .*; put the file back"):
            Trainer(job(tmp_path, student(tmp_path, **changed)), IMAGES, Accelerator())
    gone = student(tmp_path).model_copy(update={"teacher": tmp_path / "nowhere"})
    with pytest.raises(TrainingFailed, match=r"'.*nowhere' is no folder"):
        Trainer(job(tmp_path, gone), IMAGES, Accelerator())


def test_the_key_knows_what_decides_the_student_and_not_where_it_lies(tmp_path: Path) -> None:
    plain, made = prepared_job(tmp_path, spec=UNetSpec.parse(TEXT)), student(tmp_path)
    key = job(tmp_path, made).key
    assert key != plain.key
    moved = made.model_copy(update={"teacher": tmp_path / "elsewhere", "start": tmp_path / "elsewhere"})
    assert job(tmp_path, moved).key == key
    changes: list[dict[str, Any]] = [
        {"choices": WHOLE}, {"loss": NOISE_ALONE}, {"start_sha256": "1" * 64}, {"teacher_sha256": "1" * 64}
    ]  # fmt: skip
    assert len({job(tmp_path, made.model_copy(update=change)).key for change in changes} | {key}) == 5
