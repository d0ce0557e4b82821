"""Supernets of the blocks of a teacher: exact at full width, honest about less, and the better for training."""

import itertools
from collections.abc import Iterator

import pytest
import torch
from teachers import SIDE, random_choices, teacher

from diffusion.distill.plan import SupernetTraining
from diffusion.distill.student import ranked_channels, sliced
from diffusion.distill.supernet import errors_of, supernets_of, train_supernets
from diffusion.distill.units import blocks_of, units_of
from diffusion.distill.watching import Batch, noised, relative_error, watched
from diffusion.process import NoiseProcess
from diffusion.streams import generator

TEXT = "b8-n1-m1.2.2.2-a0100"
PROCESS = NoiseProcess.make("linear", 100)


def batches(seed: int = 0, count: int = 4) -> Iterator[Batch]:
    for step in itertools.count():
        noise = generator(seed, "images", step)
        yield noised(PROCESS, torch.rand(count, 1, SIDE, SIDE, generator=noise) * 2 - 1, noise)


@pytest.mark.parametrize("family", ["ddpm", "iddpm"])
def test_the_whole_student_of_each_block_has_no_error_at_all(family: str) -> None:
    model = teacher(TEXT, family)  # type: ignore[arg-type]
    seen, predicted = watched(model, next(batches()))
    nets = supernets_of(model)
    assert list(nets) == list(seen) == [name for name, _ in blocks_of(model)]
    for name, net in nets.items():
        assert net.error(net.whole, seen[name]).item() == 0.0
        assert net.error(net.smallest, seen[name]).item() > 0.0
    assert predicted.shape == (4, 2 if family == "iddpm" else 1, SIDE, SIDE)


def test_a_students_error_is_that_of_the_sliced_network_on_the_teachers_inputs() -> None:
    model = teacher(TEXT)
    units = units_of(model)
    choices = random_choices(units, 4)
    seen, _ = watched(model, next(batches()))
    student = sliced(model, choices)
    for name, net in supernets_of(model).items():
        block, call = student.get_submodule(name), seen[name]
        with torch.no_grad():
            given = block(*call.args, **call.kwargs)
        outputs = (given,) if isinstance(given, torch.Tensor) else given[1]
        wanted = torch.stack(
            [((a - b) ** 2).mean() / b.var(correction=0) for a, b in zip(outputs, call.outputs, strict=True)]
        ).mean()
        own = {unit.name: choices[unit.name] for unit in net.units}
        torch.testing.assert_close(net.error(own, call), wanted)


def test_what_the_teacher_hands_on_is_untouched_by_watching() -> None:
    model = teacher(TEXT)
    batch = next(batches())
    _, predicted = watched(model, batch)
    with torch.no_grad():
        assert torch.equal(model(batch.noisy, batch.steps).sample, predicted)
    assert all(not block._forward_hooks for _, block in blocks_of(model))


def test_training_brings_students_nearer_and_leaves_the_teacher_alone() -> None:
    model = teacher(TEXT)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    nets = supernets_of(model)
    held_out = [watched(model, batch)[0] for batch in itertools.islice(batches(seed=9), 3)]
    students = {
        name: [net.smallest, {unit.name: unit.choices()[-2] for unit in net.units}] for name, net in nets.items()
    }

    def judged() -> dict[str, list[float]]:
        return {n: errors_of(net, students[n], [seen[n] for seen in held_out]) for n, net in nets.items()}

    first = judged()
    steps = list(train_supernets(model, nets, batches(), SupernetTraining(steps=15, learning_rate=5e-3)))
    assert len(steps) == 15 and all(list(errors) == list(nets) for errors in steps)
    after = judged()
    weightless = {n for n, net in nets.items() if not net.state(net.smallest)}  # shortcuts alone, of equal widths
    assert weightless == {"mid_block", "down_blocks.3"} == {n for n in nets if not after[n][0] < first[n][0]}
    assert sum(map(sum, after.values())) < 0.9 * sum(map(sum, first.values()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_blocks_may_be_trained_apart_to_the_same_weights() -> None:
    model, training = teacher(TEXT), SupernetTraining(steps=3)
    together, apart = supernets_of(model), supernets_of(model)
    list(train_supernets(model, together, batches(), training))
    for name in apart:
        list(train_supernets(model, {name: apart[name]}, batches(), training))
    for name, net in together.items():
        for one, other in zip(net.parameters(), apart[name].parameters(), strict=True):
            assert torch.equal(one, other)


def test_a_student_of_the_trained_supernets_is_their_weights() -> None:
    model = teacher(TEXT)
    units, nets = units_of(model), supernets_of(model)
    list(train_supernets(model, nets, batches(), SupernetTraining(steps=2)))
    choices = random_choices(units, 1)
    student = sliced(model, choices, ranked_channels(model, units))
    own = {f"{name}.{key}": value for name, net in nets.items() for key, value in net.state(choices).items()}
    missing, unknown = student.load_state_dict(own, strict=False)
    assert unknown == [] and all(not name.startswith(("down", "mid", "up")) for name in missing)


def test_relative_errors_of_the_teacher_of_its_mean_and_of_noise() -> None:
    wanted = torch.randn(64, 3, 4, 4, generator=generator(0))
    assert relative_error([wanted], [wanted]) == 0.0
    assert relative_error([wanted.mean().expand_as(wanted)], [wanted]).item() == pytest.approx(1.0)
    other = torch.randn(64, 3, 4, 4, generator=generator(1))
    assert relative_error([other, wanted], [wanted, wanted]).item() == pytest.approx(1.0, abs=0.1)  # (2 + 0) / 2
