"""The local search: planted blocks are found, what is beaten is left out, and a target holds for the whole."""

import itertools

import numpy as np
import pytest
import torch
from teachers import SIDE, counted, teacher

from diffusion.distill.allocation import Whole
from diffusion.distill.costs import common_cost, student_cost
from diffusion.distill.search import curve, judged, unbeaten, within
from diffusion.distill.student import sliced
from diffusion.distill.supernet import InPlace, supernets_of
from diffusion.distill.units import Choice, units_of
from diffusion.distill.watching import Batch, noised, relative_error, watched
from diffusion.errors import UserError
from diffusion.process import NoiseProcess
from diffusion.streams import generator

TEXT = "b8-n1-m1.2.2.2-a0100"
PROCESS = NoiseProcess.make("linear", 100)


def batches_of(count: int) -> list[Batch]:
    found = []
    for step in range(count):
        noise = generator(7, "images", step)
        found.append(noised(PROCESS, torch.rand(4, 1, SIDE, SIDE, generator=noise) * 2 - 1, noise))
    return found


def seen_by(model: object, count: int = 2) -> dict[str, list[object]]:
    calls = [watched(model, batch)[0] for batch in batches_of(count)]  # type: ignore[arg-type]
    return {name: [call[name] for call in calls] for name in calls[0]}


def test_a_planted_block_is_found_without_any_training() -> None:
    """Half of the channels of one unit say nothing, and another unit's kernels are zero but for their middle."""
    model = teacher(TEXT)
    first, second = units_of(model)[1:3]
    assert first.block != second.block
    half = first.width(0.5)
    with torch.no_grad():
        resnet = model.get_submodule(first.name)
        resnet.conv2.weight[:, half:] = 0.0  # type: ignore[index, operator]
        other = model.get_submodule(second.name)
        for conv in (other.conv1, other.conv2):
            middle = conv.weight[..., 1:2, 1:2].clone()  # type: ignore[index, union-attr]
            conv.weight.zero_()  # type: ignore[operator, union-attr]
            conv.weight[..., 1:2, 1:2] = middle  # type: ignore[index, operator, union-attr]
    nets, seen = supernets_of(model), seen_by(model)
    for unit, best in ((first, Choice(width=half, attention=first.has_attention)), (second, None)):
        found = judged(nets[unit.block], seen[unit.block], InPlace(model, batches_of(1)))  # type: ignore[arg-type]
        place = found.cheapest_unharmed("paper", tolerance=1e-6)
        wanted = best or Choice(width=second.outputs, kernel=1, attention=second.has_attention)
        assert found.students[place][unit.name] == wanted, unit.name
        assert found.in_place[place] < 1e-6


def test_many_students_are_narrowed_down_and_what_is_beaten_is_left_out() -> None:
    model = teacher("b8-n2-m1.1.2.2-a0010")
    nets, seen = supernets_of(model), seen_by(model, count=1)
    name = "up_blocks.1"  # three units with attention
    assert np.prod([len(unit.choices()) for unit in nets[name].units]) > 1_000
    found = judged(nets[name], seen[name], InPlace(model, batches_of(1)), most=64)  # type: ignore[arg-type]
    assert 8 <= found.judged <= 64 and len(found.students) < found.judged
    assert any(choices == nets[name].whole for choices in found.students)
    for one, other in itertools.permutations(range(len(found.students)), 2):
        worse = [*found.costs[one], found.errors[one]], [*found.costs[other], found.errors[other]]
        assert not all(a <= b for a, b in zip(*worse, strict=True))


def test_the_target_holds_for_macs_and_parameters_of_the_built_student() -> None:
    model = teacher(TEXT)
    nets, seen = supernets_of(model), seen_by(model, count=1)
    place = InPlace(model, batches_of(1))
    blocks = {name: judged(net, seen[name], place, most=40) for name, net in nets.items()}  # type: ignore[arg-type]
    teachers, common = counted(model), common_cost(model)
    whole = Whole(teachers.macs_total, teachers.params, common.macs_total, common.params)
    found = within(blocks, whole, 0.55, "total")
    built = counted(sliced(model, found.choices))
    assert (built.macs_total, built.params) == (found.macs, found.params)
    assert built == student_cost(model, found.choices)
    assert built.macs_total <= 0.55 * teachers.macs_total and built.params <= 0.55 * teachers.params
    points = curve(blocks, whole, "total")
    losses = [each.loss for _, each in points]
    assert losses == sorted(losses, reverse=True) and losses[-1] == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(UserError, match=r"^'--target 0.01' is out of reach: the smallest student has 0\.\d+ of"):
        within(blocks, whole, 0.01, "total")


def test_what_a_student_does_in_place_is_the_error_of_the_network_that_has_it_there() -> None:
    model = teacher(TEXT)
    nets, seen = supernets_of(model), seen_by(model, count=1)
    name, (batch,) = "up_blocks.0", batches_of(1)
    found = judged(nets[name], seen[name], InPlace(model, [batch]), most=40)
    whole = {unit.name: unit.whole for unit in units_of(model)}
    with torch.no_grad():
        wanted = model(*batch).sample
        for choices, error in list(zip(found.students, found.in_place, strict=True))[:: len(found.students) // 3]:
            built = sliced(model, {**whole, **choices}).eval()(*batch).sample
            assert error == pytest.approx(float(relative_error([built], [wanted])), rel=1e-6)
    assert found.in_place[-1] == pytest.approx(0.0, abs=1e-9)  # the whole block


def test_what_is_added_up_is_what_is_seen_in_the_output() -> None:
    """A block of which the output makes nothing may be given up whole, whatever its own error is."""
    model = teacher(TEXT)
    with torch.no_grad():  # the last block's resnet on the middle's path says nothing to what follows
        model.get_submodule("up_blocks.0.resnets.0").conv2.weight.zero_()  # type: ignore[union-attr, operator]
        model.get_submodule("up_blocks.0.resnets.0").conv2.bias.zero_()  # type: ignore[union-attr, operator]
        model.get_submodule("up_blocks.0.resnets.0").conv_shortcut.weight.zero_()  # type: ignore[union-attr, operator]
    nets, seen = supernets_of(model), seen_by(model, count=1)
    found = judged(nets["mid_block"], seen["mid_block"], InPlace(model, batches_of(1)), most=40)
    assert max(found.errors) > 0.01 and max(found.in_place) < 1e-9


def test_unbeaten_points_against_looking_at_all_pairs() -> None:
    points = np.random.default_rng(0).integers(0, 6, (60, 3)).tolist()

    def beats(one: int, other: int) -> bool:
        low = all(a <= b for a, b in zip(points[one], points[other], strict=True))
        return low and (points[one] != points[other] or one < other)

    expected = [place for place in range(60) if not any(beats(one, place) for one in range(60) if one != place)]
    assert unbeaten(points) == expected
