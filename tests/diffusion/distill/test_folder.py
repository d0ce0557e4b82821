"""A student's folder: what is written is what is read, diffusers draws with it, and nothing in it is trusted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from safetensors.torch import load_file, save_file
from teachers import SIDE, random_choices, teacher

from diffusion.distill.folder import CONFIG, WEIGHTS, load_student, save_student
from diffusion.distill.student import sliced
from diffusion.distill.units import units_of
from diffusion.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = teacher("b8-n1-m1.2.2.2-a0100", channels=3)
    choices = random_choices(units_of(model), 3)
    save_student(tmp_path / "student of mine", sliced(model, choices), choices)
    return tmp_path / "student of mine"


def test_what_is_read_computes_what_was_written_to_the_bit(folder: Path) -> None:
    model = teacher("b8-n1-m1.2.2.2-a0100", channels=3)
    student, found = sliced(model, random_choices(units_of(model), 3)), load_student(folder)
    images, steps = torch.randn(2, 3, SIDE, SIDE), torch.tensor([3, 400])
    with torch.no_grad():
        assert torch.equal(found(images, steps).sample, student(images, steps).sample)
    assert not found.training and not any(parameter.requires_grad for parameter in found.parameters())


def test_diffusers_draws_with_a_student(folder: Path) -> None:
    pipeline = DDPMPipeline(unet=load_student(folder), scheduler=DDPMScheduler(num_train_timesteps=50))
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(2, torch.Generator().manual_seed(0), num_inference_steps=4, output_type="np").images
    assert drawn.shape == (2, SIDE, SIDE, 3) and np.isfinite(drawn).all() and np.ptp(drawn) > 0


def change(**changes: Any) -> Callable[[Path], None]:
    def done(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | changes))

    return done


def cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def infinite(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["conv_in.bias"][0] = float("inf")
    save_file(weights, folder / WEIGHTS)


def narrower(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["conv_in.bias"] = weights["conv_in.bias"][:-1].clone()
    save_file(weights, folder / WEIGHTS)


def wider_teacher(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config["teacher"]["block_out_channels"] = [2**20] * 4  # 10¹⁴ weights, were they ever made
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / CONFIG).unlink(), "is missing; name a folder that `diffnas-agent compress` wrote"),
        (lambda folder: (folder / WEIGHTS).unlink(), "is missing; compress the teacher again"),
        (change(format=2), "is damaged or not what a student's folder has"),
        (change(choices={}), "describes no student: 'down_blocks.0.resnets.0' is not chosen"),
        (change(teacher={"depth": 3}), "describes no network ("),
        (cut, "is cut or damaged ("),
        (narrower, "holds weights of another network"),
        (infinite, "holds weights that are not finite"),
        (wider_teacher, ""),
    ],
)
def test_what_is_wrong_is_one_sentence(folder: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(folder)
    with pytest.raises(UserError) as mistake:
        load_student(folder)
    assert str(mistake.value).startswith(f"'{folder}") and said in str(mistake.value)
