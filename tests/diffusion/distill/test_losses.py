"""The joint loss: its parts by hand, its schedule, and who learns from it."""

from typing import get_args

import pytest
import torch
from teachers import SIDE, random_choices, teacher

from diffusion.distill.losses import Drawn, Parts, joint_loss
from diffusion.distill.retraining import JointLoss
from diffusion.distill.student import sliced
from diffusion.distill.units import units_of
from diffusion.process import NoiseProcess
from diffusion.settings import Family
from diffusion.streams import generator
from diffusion.training.losses import training_loss

TEXT = "b8-n1-m1.2.2.2-a0100"
PROCESS = NoiseProcess.make("linear", 100)
FAMILIES: tuple[Family, ...] = get_args(Family)


def drawn(count: int = 4) -> Drawn:
    noise = generator(3)
    images = torch.rand(count, 1, SIDE, SIDE, generator=noise) * 2 - 1
    return Drawn(images, torch.randn(images.shape, generator=noise), torch.randint(100, (count,), generator=noise))


def parts(family: Family, beta: float, *, whole: bool = False, output: float = 0.0) -> Parts:
    model = teacher(TEXT, family)
    units = units_of(model)
    choices = {unit.name: unit.whole for unit in units} if whole else random_choices(units, 2)
    return joint_loss(PROCESS, family, model, sliced(model, choices), drawn(), JointLoss(output=output), beta)


@pytest.mark.parametrize("family", FAMILIES)
def test_at_beta_1_it_is_the_familys_own_loss_and_at_0_that_of_the_blocks(family: Family) -> None:
    model = teacher(TEXT, family)
    student = sliced(model, random_choices(units_of(model), 2))
    expected = training_loss(PROCESS, family, student, *drawn())
    torch.testing.assert_close(parts(family, 1.0).loss, expected)
    none = parts(family, 0.0)
    torch.testing.assert_close(none.loss, none.blocks)
    half = parts(family, 0.25, output=2.0)
    torch.testing.assert_close(half.loss, 0.75 * half.blocks + 0.25 * half.noise + 2.0 * half.output)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_whole_student_is_told_nothing_by_its_teacher(family: Family) -> None:
    found = parts(family, 0.0, whole=True, output=1.0)
    assert found.loss.item() == found.blocks.item() == found.output.item() == 0.0 < found.noise.item()


def test_the_student_learns_and_the_teacher_does_not() -> None:
    model = teacher(TEXT)
    student = sliced(model, random_choices(units_of(model), 2))
    joint_loss(PROCESS, "ddpm", model, student, drawn(), JointLoss(), 0.5).loss.backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_beta_rises_as_its_ramp_says() -> None:
    linear, cosine = JointLoss(ramp="linear"), JointLoss(ramp="cosine", first=0.2, last=0.8)
    assert [linear.beta(step, 5) for step in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [cosine.beta(step, 3) for step in range(3)] == pytest.approx([0.2, 0.5, 0.8])
    assert {JointLoss(ramp="constant", last=0.3).beta(step, 9) for step in range(9)} == {0.3}
    assert linear.beta(0, 1) == 0.0
    early = JointLoss()
    assert [early.beta(step, 9) for step in range(5)] == [0.0, 0.5, 1.0, 1.0, 1.0]
    assert (early.taught_share(9), linear.taught_share(9), JointLoss(output=0.1).taught_share(9)) == (2 / 9, 8 / 9, 1.0)


def test_shares_outside_of_0_to_1_are_refused() -> None:
    for wrong in ({"first": -0.1}, {"last": 1.1}, {"output": float("inf")}, {"ramp": "steep"}):
        with pytest.raises(ValueError, match="JointLoss"):
            JointLoss.model_validate(wrong)
