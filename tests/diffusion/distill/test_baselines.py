"""Students without a search: within the target as counted, and as near to it as they can be."""

import pytest
import torch
from teachers import counted, teacher

from diffusion.distill.allocation import Whole
from diffusion.distill.baselines import Within, at_random, pruned, uniform
from diffusion.distill.costs import common_cost
from diffusion.distill.student import sliced
from diffusion.distill.units import units_of
from diffusion.errors import UserError

MODEL = teacher("b16-n2-m1.2.1.2-a0110")
UNITS = units_of(MODEL)
TEACHER, COMMON = counted(MODEL), common_cost(MODEL)
WHOLE = Whole(TEACHER.macs_total, TEACHER.params, COMMON.macs_total, COMMON.params)


@pytest.mark.parametrize("target", [0.5, 0.7, 0.95])
def test_a_uniform_student_is_the_widest_within_the_target(target: float) -> None:
    choices = uniform(Within(UNITS, WHOLE, target, "total"))
    built = counted(sliced(MODEL, choices))
    assert built.macs_total <= target * TEACHER.macs_total and built.params <= target * TEACHER.params
    assert all(
        choice.kernel == 3 and choice.attention == unit.has_attention
        for choice, unit in zip(choices.values(), UNITS, strict=True)
    )
    wider = {
        unit.name: unit.whole.model_copy(update={"width": min(unit.outputs, choices[unit.name].width + unit.step)})
        for unit in UNITS
    }
    assert not Within(UNITS, WHOLE, target, "total").holds(wider)


def test_with_all_allowed_the_uniform_student_is_the_teacher() -> None:
    assert uniform(Within(UNITS, WHOLE, 1.0, "paper")) == {unit.name: unit.whole for unit in UNITS}


@pytest.mark.parametrize("target", [0.4, 0.7, 0.95])
def test_a_pruned_student_is_within_the_target(target: float) -> None:
    choices = pruned(Within(UNITS, WHOLE, target, "total"), MODEL)
    built = counted(sliced(MODEL, choices))
    assert built.macs_total <= target * TEACHER.macs_total and built.params <= target * TEACHER.params
    assert {choice.kernel for choice in choices.values()} == {3}


def test_pruning_takes_what_does_nothing_first() -> None:
    model = teacher("b64-n1-m1.1.1-a000", side=16)
    units = units_of(model)
    planted = units[-1]  # every other channel between its convolutions has weights of next to nothing
    resnet = model.get_submodule(planted.name)
    with torch.no_grad():
        resnet.conv1.weight[1::2] *= 1e-3
        resnet.conv2.weight[:, 1::2] *= 1e-3
        resnet.time_emb_proj.weight[1::2] *= 1e-3
    cost, common = counted(model), common_cost(model)
    whole = Whole(cost.macs_total, cost.params, common.macs_total, common.params)
    choices = pruned(Within(units, whole, 0.99, "total"), model)
    assert {name: choice.width for name, choice in choices.items()} == {
        unit.name: 32 if unit is planted else 64 for unit in units
    }


def test_what_torch_pruning_does_not_handle_is_one_sentence() -> None:
    model = teacher("b16-n1-m1.2.2-a000", "iddpm")
    with pytest.raises(UserError, match=r"^'--method torch-pruning' does not handle"):
        pruned(Within(units_of(model), WHOLE, 0.5, "total"), model)


@pytest.mark.parametrize("seed", range(5))
def test_a_random_student_is_within_the_target_and_that_of_its_seed(seed: int) -> None:
    choices = at_random(Within(UNITS, WHOLE, 0.5, "total"), seed)
    built = counted(sliced(MODEL, choices))
    assert built.macs_total <= 0.5 * TEACHER.macs_total and built.params <= 0.5 * TEACHER.params
    assert (
        choices
        == at_random(Within(UNITS, WHOLE, 0.5, "total"), seed)
        != at_random(Within(UNITS, WHOLE, 0.5, "total"), seed + 1)
    )


def test_a_target_out_of_reach_is_one_sentence() -> None:
    for method in (
        lambda: uniform(Within(UNITS, WHOLE, 0.1, "total")),
        lambda: at_random(Within(UNITS, WHOLE, 0.01, "total"), 0),
    ):
        with pytest.raises(UserError, match=r"^'--target 0\.0?1' is out of reach"):
            method()
