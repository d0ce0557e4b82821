"""A smaller network made from a teacher: the same blocks and interfaces, with less inside each residual unit.

The channels that stay are those that matter most by magnitude, so that a narrower student's are among a wider one's.
They go in whole groups of the norm between the convolutions; where there are few groups each loses some. A student is
the teacher's own class of network with some layers replaced: whoever runs a `UNet2DModel` runs a student.

Structure and weights are made apart: `skeleton` has no weights, and `student_state` takes those of a student out of
those of a network like the teacher, by indexing alone, so that gradients find their way back.
"""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffusion.distill.units import Choice, Choices, Unit, checked_choices, units_of

if TYPE_CHECKING:
    from diffusers import UNet2DModel

Ranking = Mapping[str, Tensor]  # of each unit its channels, those that matter most first  (outputs,)
State = Mapping[str, Tensor]


class Shortcut(nn.Module):
    """What is left of a residual block without its body: (N, inputs, H, W) → (N, outputs, H, W)."""

    def __init__(self, conv_shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv_shortcut = conv_shortcut

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        """Without the time embedding."""
        if self.conv_shortcut is None:
            return hidden
        found: Tensor = self.conv_shortcut(hidden)
        return found


class NoAttention(nn.Module):
    """What is left of an attention that was dropped."""

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        """As it came."""
        return hidden


def sliced(network: "UNet2DModel", choices: Choices, ranking: Ranking | None = None) -> "UNet2DModel":
    """A student with the weights of a network; with all that the network has it computes what the network does.

    Args:
        network: the teacher, or one of its shape.
        choices: what is left of each unit.
        ranking: of its channels; by its own magnitudes if None.

    Raises:
        UserError: the choices are not of this network.
    """
    units = units_of(network)
    student = skeleton(network, choices)
    state = student_state(network.state_dict(), units, choices, ranking or ranked_channels(network, units))
    student.load_state_dict({name: tensor.clone() for name, tensor in state.items()}, assign=True)
    for name, parameter in network.named_parameters():
        if name in state:
            student.get_parameter(name).requires_grad_(parameter.requires_grad)
    return student.train(network.training)


def skeleton(network: "UNet2DModel", choices: Choices) -> "UNet2DModel":
    """The structure of a student, on the meta device.

    Raises:
        UserError: the choices are not of this network.
    """
    units, student = units_of(network), copy.deepcopy(network).to("meta")
    for unit, choice in zip(units, checked_choices(units, choices).values(), strict=True):
        shrink(student, unit, choice)
    return student


def shrink(root: nn.Module, unit: Unit, choice: Choice, *, below: str = "") -> None:
    """Replace a unit by the structure of what is left of it; names in `root` begin below that of a block."""
    name, attention = unit.name.removeprefix(below), unit.attention.removeprefix(below)
    resnet: Any = root.get_submodule(name)
    if choice.width == 0:
        root.set_submodule(name, Shortcut(resnet.conv_shortcut))
    else:
        _narrow(resnet, unit, choice)
    if unit.has_attention and not choice.attention:
        root.set_submodule(attention, NoAttention())


def _narrow(resnet: Any, unit: Unit, choice: Choice) -> None:
    width, kernel = choice.width, choice.kernel
    with torch.device("meta"):
        resnet.norm2 = nn.GroupNorm(unit.groups_of(width), width, eps=resnet.norm2.eps)
        resnet.time_emb_proj = nn.Linear(unit.embedding, 2 * width if unit.is_scaled else width)
        resnet.conv1 = nn.Conv2d(unit.inputs, width, kernel, padding=kernel // 2)
        resnet.conv2 = nn.Conv2d(width, unit.outputs, kernel, padding=kernel // 2)


def student_state(state: State, units: list[Unit], choices: Choices, ranking: Ranking) -> dict[str, Tensor]:
    """The weights of a student, taken out of those of a network of the teacher's shape."""
    found = dict(state)
    for unit in units:
        choice, gone = choices[unit.name], []
        if choice.width:
            found |= _narrowed(state, unit, choice, ranking[unit.name][: choice.width].sort().values)
        else:
            gone += [name for name in state if name.startswith(f"{unit.name}.") and ".conv_shortcut." not in name]
        if unit.has_attention and not choice.attention:
            gone += [name for name in state if name.startswith(f"{unit.attention}.")]
        for name in gone:
            del found[name]
    return found


def _narrowed(state: State, unit: Unit, choice: Choice, kept: Tensor) -> dict[str, Tensor]:
    """The layers between a unit's ends, with the channels that are kept; of a 3×3 kernel the middle if 1×1 is left."""
    time = torch.cat([kept, unit.outputs + kept]) if unit.is_scaled else kept
    of = {name.removeprefix(f"{unit.name}."): tensor for name, tensor in state.items() if name.startswith(unit.name)}
    taps = slice(1, 2) if choice.kernel == 1 else slice(None)
    changed = {
        "conv1.weight": of["conv1.weight"][kept][..., taps, taps],
        "conv2.weight": of["conv2.weight"][:, kept][..., taps, taps],
        **{name: of[name][kept] for name in ("conv1.bias", "norm2.weight", "norm2.bias")},
        **{name: of[name][time] for name in ("time_emb_proj.weight", "time_emb_proj.bias")},
    }
    return {f"{unit.name}.{name}": tensor for name, tensor in changed.items()}


def ranked_channels(network: "UNet2DModel", units: list[Unit]) -> dict[str, Tensor]:
    """Of each unit the channels between its convolutions, those that matter most first.  name → (outputs,)"""
    return {unit.name: ranked(network.get_submodule(unit.name), unit) for unit in units}


def ranked(resnet: Any, unit: Unit) -> Tensor:
    """The same of one residual block; the first so many, in steps of the unit, are what a student of that width keeps.

    What a channel matters is the product of the norms of what makes it and of what it does: conv1's filter, the norm's
    scale and conv2's column; a group matters what its channels do together.
    """
    with torch.no_grad():
        made = resnet.conv1.weight.flatten(1).norm(dim=1)
        does = resnet.conv2.weight.transpose(0, 1).flatten(1).norm(dim=1)
        matters = (made * resnet.norm2.weight.abs() * does).reshape(unit.groups, -1)
    channels = torch.arange(unit.outputs, device=matters.device).reshape(unit.groups, -1)
    if unit.drops_groups:
        return channels[matters.sum(dim=1).argsort(descending=True, stable=True)].flatten()
    return channels.gather(1, matters.argsort(dim=1, descending=True, stable=True)).t().flatten()
