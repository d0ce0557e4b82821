"""Students of a teacher: what may be left of it, what that costs, and what it computes."""

from typing import get_args

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.resnet import ResnetBlock2D
from teachers import SIDE, counted, random_choices, teacher

from diffusion.cost.closed_form import cost
from diffusion.distill.costs import common_cost, student_cost, unit_cost
from diffusion.distill.student import ranked, ranked_channels, skeleton, sliced, student_state
from diffusion.distill.units import Choice, Unit, checked_choices, short, units_of
from diffusion.errors import UserError
from diffusion.settings import Family
from diffusion.spec import UNetSpec

FAMILIES: tuple[Family, ...] = get_args(Family)
TEXTS = ("b8-n1-m1.2.2.2-a0100", "b16-n2-m1.2.1.2-a0110", "b8-n1-m2.1.1.3.1-a01010")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", TEXTS)
def test_units_and_what_is_common_add_up_to_the_teacher(text: str, family: Family) -> None:
    model = teacher(text, family)
    whole = {unit.name: unit.whole for unit in units_of(model)}
    known = cost(UNetSpec.parse(text), family, SIDE, 1)
    assert student_cost(model, whole) == (known.params, known.macs.paper, known.macs.total) == counted(model)
    assert len(whole) == len([name for name, _ in model.named_modules() if name.endswith("conv1")])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("count", [6, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("text", TEXTS)
def test_what_a_student_costs_is_what_the_built_one_is_counted_at(text: str, count: int, family: Family) -> None:
    model = teacher(text, family)
    units = units_of(model)
    for seed in range(count):
        choices = random_choices(units, seed)
        assert student_cost(model, choices) == counted(sliced(model, choices)), short(choices)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_whole_student_computes_what_the_teacher_does_to_the_bit(family: Family) -> None:
    model = teacher(TEXTS[1], family)
    student = sliced(model, {unit.name: unit.whole for unit in units_of(model)})
    images, steps = torch.randn(3, 1, SIDE, SIDE), torch.tensor([0, 7, 999])
    with torch.no_grad():
        assert torch.equal(student(images, steps).sample, model(images, steps).sample)
    assert student.state_dict().keys() == model.state_dict().keys()


def test_a_student_is_another_network_and_the_teacher_stays_as_it_was() -> None:
    model = teacher(TEXTS[0])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    units = units_of(model)
    student = sliced(model, {unit.name: unit.choices()[0] for unit in units})
    images, steps = torch.randn(2, 1, SIDE, SIDE), torch.tensor([3, 400])
    assert not torch.equal(student(images, steps).sample, model(images, steps).sample)
    student(images, steps).sample.sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("groups", [2, 8])
def test_channels_of_a_narrow_student_are_among_those_of_a_wider_one_and_matter_most(groups: int) -> None:
    resnet = ResnetBlock2D(in_channels=8, out_channels=16, temb_channels=32, groups=groups, groups_out=groups)
    unit = Unit("mid_block.resnets.0", 8, 16, 4, groups, 32, is_scaled=False, has_attention=False)
    matter = torch.arange(16).roll(5)  # of each channel how much, the eleventh nothing
    with torch.no_grad():
        resnet.conv2.weight.copy_(matter[None, :, None, None].expand_as(resnet.conv2.weight))
        resnet.conv1.weight.fill_(1.0)
    kept = [set(ranked(resnet, unit)[:width].tolist()) for width in (4, 8, 12, 16)]
    assert [len(each) for each in kept] == [4, 8, 12, 16]
    assert kept[0] < kept[1] < kept[2] < kept[3]
    assert kept[0] == ({3, 4, 14, 15} if groups == 2 else {0, 1, 2, 3})  # both groups lose channels, or pairs go
    assert kept[3] - kept[2] == ({5, 6, 8, 9} if groups == 2 else {6, 7, 8, 9})


def test_without_some_groups_the_norm_does_to_the_others_what_it_did() -> None:
    model = teacher(TEXTS[1])
    unit = units_of(model)[2]
    assert unit.drops_groups and unit.groups >= 8
    whole = {each.name: each.whole for each in units_of(model)}
    student = sliced(model, {**whole, unit.name: unit.whole.model_copy(update={"width": unit.width(0.5)})})
    resnet = model.get_submodule(unit.name)
    gone = ranked(resnet, unit)[unit.width(0.5) :].tolist()
    with torch.no_grad():
        resnet.conv2.weight[:, gone] = 0.0  # type: ignore[index, operator]
    images, steps = torch.randn(2, 1, SIDE, SIDE), torch.tensor([3, 400])
    with torch.no_grad():
        torch.testing.assert_close(student(images, steps).sample, model(images, steps).sample)


def test_one_by_one_kernels_take_the_middle_of_the_teachers() -> None:
    model = teacher(TEXTS[0])
    unit = units_of(model)[0]
    whole = {each.name: each.whole for each in units_of(model)}
    student = sliced(model, {**whole, unit.name: Choice(width=unit.outputs, kernel=1)})
    one, three = (network.get_submodule(unit.name).conv1.weight for network in (student, model))
    assert torch.equal(one, three[..., 1:2, 1:2])  # type: ignore[index, arg-type]


def test_an_empty_student_takes_the_weights_of_one_and_is_it() -> None:
    model = teacher(TEXTS[1], "iddpm")
    choices = random_choices(units_of(model), 5)
    student = sliced(model, choices)
    again = skeleton(model, choices)
    again.load_state_dict(student.state_dict(), assign=True)
    images, steps = torch.randn(2, 1, SIDE, SIDE), torch.tensor([3, 400])
    with torch.no_grad():
        assert torch.equal(again.eval()(images, steps).sample, student(images, steps).sample)


def test_gradients_of_a_student_reach_the_weights_that_it_was_taken_from_and_no_others() -> None:
    model = teacher(TEXTS[0])
    units = units_of(model)
    choices = {unit.name: unit.choices()[len(unit.choices()) // 2] for unit in units}
    state = dict(model.named_parameters())
    student = sliced(model, choices)
    taken = student_state(state, units, choices, ranked_channels(model, units))
    images, steps = torch.randn(2, 1, SIDE, SIDE), torch.tensor([3, 400])
    found = torch.func.functional_call(student, taken, (images, steps)).sample
    assert torch.equal(found, student(images, steps).sample)
    found.sum().backward()
    unit = next(unit for unit in units if 0 < choices[unit.name].width < unit.outputs)
    gradient = state[f"{unit.name}.conv1.bias"].grad
    assert gradient is not None and int((gradient != 0).sum()) == choices[unit.name].width


def test_what_may_be_left_of_a_unit() -> None:
    unit = Unit("mid_block.resnets.0", 32, 32, 4, 2, 128, is_scaled=False, has_attention=True)
    assert [choice.width for choice in unit.choices()] == [0] * 2 + [8] * 4 + [16] * 4 + [24] * 4 + [32] * 4
    assert unit.choices()[-1] == unit.whole and len(set(map(str, unit.choices()))) == 18
    pixel = unit._replace(outputs=8, side=1, has_attention=False)  # a group of one channel would be a single value
    assert [choice.width for choice in pixel.choices()] == [0, 4, 4, 6, 6, 8, 8]
    many = unit._replace(groups=8)  # of four channels each, which go together
    assert (many.width(0.25), many.groups_of(8), many.width(0.01)) == (8, 2, 4)
    costs = [unit_cost(unit, choice) for choice in unit.choices()]
    assert costs[0] == (0, 0, 0) and max(costs) == costs[-1]


def test_choices_that_are_not_of_the_teacher_are_refused_in_one_sentence() -> None:
    units = units_of(teacher(TEXTS[0]))
    whole = {unit.name: unit.whole for unit in units}
    first = units[0].name
    for wrong, said in (
        ({**whole, "down_blocks.9.resnets.0": Choice(width=8)}, "'down_blocks.9.resnets.0' is no unit of this network"),
        ({name: whole[name] for name in list(whole)[1:]}, f"'{first}' is not chosen"),
        ({**whole, first: Choice(width=99)}, f"'{first}' has up to 8 channels in multiples of"),
        ({**whole, first: Choice(width=8, attention=True)}, f"'{first}' has no attention that could stay"),
    ):
        with pytest.raises(UserError) as mistake:
            checked_choices(units, wrong)
        assert str(mistake.value).startswith(said)


def test_teachers_of_other_kinds_are_refused_in_one_sentence() -> None:
    small = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": (8, 8), "norm_num_groups": 4}
    plain = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "layers_per_block": 1}
    told = UNet2DModel(**small, **plain, num_class_embeds=10)
    with pytest.raises(UserError, match=r"^the teacher is told a class with each image"):
        units_of(told)
    other = UNet2DModel(**small, **plain | {"down_block_types": ("ResnetDownsampleBlock2D", "DownBlock2D")})
    with pytest.raises(UserError, match=r"^'ResnetDownsampleBlock2D' is a kind of block that cannot be made smaller"):
        units_of(other)


def test_what_is_common_does_not_depend_on_the_choices() -> None:
    model = teacher(TEXTS[2])
    least = {unit.name: unit.choices()[0] for unit in units_of(model)}
    shortcuts = sum(unit_cost(unit, least[unit.name]).params for unit in units_of(model))
    assert student_cost(model, least).params == common_cost(model).params + shortcuts
