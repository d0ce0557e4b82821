"""Students that nobody searched for, at the same target: what block-wise search is to be better than.

    uniform     every unit as much narrower, the channels of least magnitude gone; kernels and attention stay
    pruned      units as wide as torch-pruning leaves them, by magnitude over the whole network
    at_random   units take a random choice, one after the other in random order, until the target is met

They are chosen by costs and by the teacher's weights alone. What they start from (those weights or none) and how they
are retrained is the caller's, so that all methods differ in nothing else.
"""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from diffusion.cost.closed_form import Convention
from diffusion.distill.allocation import Whole
from diffusion.distill.costs import units_cost
from diffusion.distill.units import Choice, Choices, Unit
from diffusion.errors import UserError

if TYPE_CHECKING:
    from diffusers import UNet2DModel

RATIOS = 64  # that uniform tries, evenly from the teacher's width down
PRUNING_STEPS, MOST_PRUNED = 32, 0.96  # of torch-pruning, and the share of channels that the last one leaves out


@dataclass(frozen=True)
class Within:
    """What students of a teacher may cost."""

    units: Sequence[Unit]
    whole: Whole
    target: float  # the most of the teacher's multiply-accumulates, and of its parameters
    convention: Convention

    def holds(self, choices: Choices) -> bool:
        """Whether a student's multiply-accumulates and parameters are both within the target."""
        cost = units_cost(self.units, choices)
        macs, params = self.whole.left(self.target)
        return cost.macs(self.convention) <= macs and cost.params <= params


def unsearched(method: str, within: Within, network: "UNet2DModel", seed: int) -> dict[str, Choice]:
    """What a method of these leaves of a teacher; ``scratch`` has the shape of ``magnitude``.

    Raises:
        UserError: the target is out of its reach, or it does not handle the network.
    """
    if method == "random":
        return at_random(within, seed)
    return pruned(within, network) if method == "torch-pruning" else uniform(within)


def uniform(within: Within, widest: Mapping[str, int] | None = None) -> dict[str, Choice]:
    """The widest student that is as much narrower everywhere, and nowhere wider than is said.

    Raises:
        UserError: even the narrowest is too large.
    """
    most = {unit.name: (widest or {}).get(unit.name, unit.outputs) / unit.outputs for unit in within.units}
    for step in range(RATIOS, 0, -1):
        choices = {unit.name: _narrower(unit, min(step / RATIOS, most[unit.name])) for unit in within.units}
        if within.holds(choices):
            return choices
    raise UserError(
        f"'--target {within.target:g}' is out of reach of a uniform student, which keeps kernels and attention; "
        "ask for more"
    )


def _narrower(unit: Unit, ratio: float) -> Choice:
    return unit.whole.model_copy(update={"width": min(unit.width(ratio), unit.outputs)})


def pruned(within: Within, network: "UNet2DModel") -> dict[str, Choice]:
    """The widest student that torch-pruning leaves (`GroupMagnitudeImportance`, over the whole network).

    It takes channels evenly out of the norm's groups, of which it keeps all; here groups go as a whole, so its widths
    are rounded to them. Where that is not enough, the rest is narrowed as `uniform` does.

    Raises:
        UserError: even the narrowest is too large, or the network is none that it handles.
    """
    if any(unit.is_scaled for unit in within.units):
        raise UserError(
            "'--method torch-pruning' does not handle a time embedding that scales and shifts (family iddpm); take "
            "magnitude"
        )
    widths = {unit.name: unit.outputs for unit in within.units}
    for widths in _pruned_widths(within.units, network):
        choices = {unit.name: _narrower(unit, widths[unit.name] / unit.outputs) for unit in within.units}
        if within.holds(choices):
            return choices
    return uniform(within, widths)


def _pruned_widths(units: Sequence[Unit], network: "UNet2DModel") -> Iterator[dict[str, int]]:
    """What torch-pruning leaves of the channels between a unit's convolutions, step by step."""
    import torch_pruning

    student = copy.deepcopy(network).cpu().requires_grad_(True)
    resnets: list[Any] = [student.get_submodule(unit.name) for unit in units]
    inner = {id(layer) for resnet in resnets for layer in (resnet.conv1, resnet.time_emb_proj)}
    side, channels = student.config["sample_size"], student.config["in_channels"]
    pruner = torch_pruning.pruner.BasePruner(
        student,
        {"sample": torch.zeros(1, channels, side, side), "timestep": torch.zeros(1)},
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=MOST_PRUNED,
        iterative_steps=PRUNING_STEPS,
        ignored_layers=[
            layer for layer in student.modules() if isinstance(layer, nn.Conv2d | nn.Linear) and id(layer) not in inner
        ],
    )
    for _ in range(PRUNING_STEPS):
        pruner.step()
        yield {unit.name: resnet.conv1.out_channels for unit, resnet in zip(units, resnets, strict=True)}


def at_random(within: Within, seed: int) -> dict[str, Choice]:
    """A student of random choices, a function of the seed; where chance is not enough the rest gives up all.

    Raises:
        UserError: even shortcuts alone are too large.
    """
    rng, choices = random.Random(seed), {unit.name: unit.whole for unit in within.units}
    for least in (False, True):
        for unit in rng.sample(list(within.units), len(within.units)):
            if within.holds(choices):
                return choices
            choices[unit.name] = unit.choices()[0] if least else rng.choice(unit.choices())
    if within.holds(choices):
        return choices
    raise UserError(f"'--target {within.target:g}' is out of reach: shortcuts alone are larger; ask for more")
