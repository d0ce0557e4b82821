"""One network of shared weights for all students of a block, trained on what the teacher's block does.

A student's weights are taken out of the supernet's by indexing (`student_state`), so that what trains one trains all
that share its channels. In each step the smallest, the largest and two students drawn at random learn (the sandwich
rule of Yu & Huang 2019, arXiv 1903.05134), so that none is trained less than others. The supernet begins as the
teacher's block, whose largest student has no error.
"""

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from diffusion.distill.plan import SupernetTraining
from diffusion.distill.student import Ranking, ranked, ranked_channels, shrink, sliced, student_state
from diffusion.distill.units import Choice, Choices, Unit, blocks_of, units_of
from diffusion.distill.watching import Batch, Seen, outputs_of, relative_error, watched
from diffusion.streams import stream_seed

if TYPE_CHECKING:
    from diffusers import UNet2DModel


class BlockSupernet(nn.Module):
    """All students of a block of a teacher."""

    def __init__(self, name: str, block: nn.Module, units: Sequence[Unit], ranking: Ranking) -> None:
        super().__init__()
        self.name, self.units, self.ranking = name, list(units), ranking
        self.weights = copy.deepcopy(block).requires_grad_(True)
        self._skeletons: dict[tuple[Choice, ...], nn.Module] = {}

    @property
    def whole(self) -> dict[str, Choice]:
        """The largest student: the teacher's block."""
        return {unit.name: unit.whole for unit in self.units}

    @property
    def smallest(self) -> dict[str, Choice]:
        """Shortcuts alone."""
        return {unit.name: unit.choices()[0] for unit in self.units}

    def drawn(self, rng: random.Random) -> dict[str, Choice]:
        """A student, uniformly."""
        return {unit.name: rng.choice(unit.choices()) for unit in self.units}

    def state(self, choices: Choices) -> dict[str, Tensor]:
        """The weights of a student, named as in the block."""
        named = {f"{self.name}.{name}": tensor for name, tensor in self.weights.named_parameters()}
        taken = student_state(named, self.units, choices, self.ranking)
        return {name.removeprefix(f"{self.name}."): tensor for name, tensor in taken.items()}

    def error(self, choices: Choices, seen: Seen) -> Tensor:
        """How far a student is from what the teacher's block did (`relative_error`).  → ()"""
        student = self._skeleton(choices)
        found = functional_call(student, self.state(choices), seen.args, dict(seen.kwargs))
        return relative_error(outputs_of(found), seen.outputs)

    def _skeleton(self, choices: Choices) -> nn.Module:
        key = tuple(choices[unit.name] for unit in self.units)
        if key not in self._skeletons:
            made = copy.deepcopy(self.weights).to("meta")
            for unit, choice in zip(self.units, key, strict=True):
                shrink(made, unit, choice, below=f"{self.name}.")
            self._skeletons[key] = made
        return self._skeletons[key]


def supernets_of(teacher: "UNet2DModel") -> dict[str, BlockSupernet]:
    """A supernet of each block, with the teacher's weights."""
    units = units_of(teacher)
    made = {}
    for name, block in blocks_of(teacher):
        own = [unit for unit in units if unit.block == name]
        ranking = {unit.name: ranked(teacher.get_submodule(unit.name), unit) for unit in own}
        made[name] = BlockSupernet(name, block, own, ranking)
    return made


class SupernetTrainer:
    """Supernets of some blocks, trained side by side: the teacher's forward pass is shared.

    Which students are drawn depends on the seed, the block and the step alone, so that a training that was restored
    goes on as if it had never stopped.
    """

    def __init__(
        self, teacher: "UNet2DModel", supernets: Mapping[str, BlockSupernet], training: SupernetTraining
    ) -> None:
        self.teacher, self.supernets, self.training, self.step = teacher, supernets, training, 0
        self.optimizers = {
            name: torch.optim.Adam(net.parameters(), lr=training.learning_rate) for name, net in supernets.items()
        }

    def update(self, batch: Batch) -> dict[str, float]:
        """One step of all supernets; the mean error of each before it, by name."""
        seen, _ = watched(self.teacher, batch)
        errors = {name: self._update(name, net, seen[name]) for name, net in self.supernets.items()}
        self.step += 1
        return errors

    def _update(self, name: str, net: BlockSupernet, seen: Seen) -> float:
        rng = random.Random(stream_seed(self.training.seed, f"students of {name}", self.step))
        students = [net.smallest, net.whole, *(net.drawn(rng) for _ in range(self.training.drawn))]
        self.optimizers[name].zero_grad()
        mean = torch.stack([net.error(choices, seen) for choices in students]).mean()
        mean.backward()  # type: ignore[no-untyped-call]
        self.optimizers[name].step()
        return float(mean.detach())

    def state(self) -> dict[str, Tensor]:
        """Weights and moments, by name: the tensors themselves."""
        found: dict[str, Tensor] = {}
        for name, net in self.supernets.items():
            found |= {f"weights/{name}/{key}": tensor.detach() for key, tensor in net.weights.named_parameters()}
            for index, entries in self.optimizers[name].state_dict()["state"].items():
                found |= {f"moments/{name}/{index}/{key}": tensor for key, tensor in entries.items()}
        return found

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Take up the state that `state` returned at a step."""
        self.step = step
        for name, net in self.supernets.items():
            for key, parameter in net.weights.named_parameters():
                parameter.copy_(tensors[f"weights/{name}/{key}"])
            moments: dict[int, dict[str, Tensor]] = {}
            for key, tensor in tensors.items():
                kind, block, *place = key.split("/")
                if kind == "moments" and block == name:
                    moments.setdefault(int(place[0]), {})[place[1]] = tensor.clone()
            optimizer = self.optimizers[name]
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def train_supernets(
    teacher: "UNet2DModel",
    supernets: Mapping[str, BlockSupernet],
    batches: Iterator[Batch],
    training: SupernetTraining,
) -> Iterator[dict[str, float]]:
    """All steps of a training, a batch each; the mean error of each block after every one."""
    trainer = SupernetTrainer(teacher, supernets, training)
    while trainer.step < training.steps:
        yield trainer.update(next(batches))


class InPlace:
    """How far the output of a teacher moves when something else does the work of a part of it, over some batches."""

    def __init__(self, teacher: "UNet2DModel", batches: Sequence[Batch]) -> None:
        self.teacher, self.batches = teacher, batches
        self.outputs = [watched(teacher, batch)[1] for batch in batches]

    @torch.no_grad()
    def error(self, student: nn.Module) -> float:
        """The relative error of what a network predicts, each batch weighing the same."""
        found = [student(*batch).sample for batch in self.batches]
        errors = [relative_error([one], [other]) for one, other in zip(found, self.outputs, strict=True)]
        return float(torch.stack(errors).mean())

    def errors(
        self, net: BlockSupernet, students: Sequence[Choices], before_each: Callable[[], None] = lambda: None
    ) -> list[float]:
        """The error of the output with each student in the place of its block, and the teacher everywhere else."""
        network, units = copy.deepcopy(self.teacher).requires_grad_(False).eval(), units_of(self.teacher)
        network.get_submodule(net.name).load_state_dict(net.weights.state_dict())
        ranking, whole = ranked_channels(self.teacher, units), {unit.name: unit.whole for unit in units}
        found = []
        for choices in students:
            before_each()
            found.append(self.error(sliced(network, {**whole, **choices}, ranking)))
        return found


@torch.no_grad()
def errors_of(
    net: BlockSupernet,
    students: Sequence[Choices],
    seen: Sequence[Seen],
    before_each: Callable[[], None] = lambda: None,
) -> list[float]:
    """The error of each student over some calls of the block, each call weighing the same."""
    found = []
    for choices in students:
        before_each()
        found.append(float(torch.stack([net.error(choices, each) for each in seen]).mean()))
    return found
