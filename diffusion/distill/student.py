"""A smaller network made from a teacher: the same blocks and interfaces, with less inside each residual unit.

The channels that stay are those that matter most by magnitude, so that a narrower student's are among a wider one's.
They go in whole groups of the norm between the convolutions; where there are few groups each loses some. A student is
the teacher's own class of network with some layers replaced: whoever runs a `UNet2DModel` runs a student.
"""

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffusion.distill.units import Choice, Choices, Unit, checked_choices, units_of

if TYPE_CHECKING:
    from diffusers import UNet2DModel


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


def sliced(teacher: "UNet2DModel", choices: Choices) -> "UNet2DModel":
    """A student with the teacher's weights; with all that the teacher has it computes what the teacher does.

    Raises:
        UserError: the choices are not of this teacher.
    """
    units, student = units_of(teacher), copy.deepcopy(teacher)
    for unit, choice in zip(units, checked_choices(units, choices).values(), strict=True):
        _shrink(student, unit, choice)
    return student


def empty_student(config: dict[str, Any], choices: Choices) -> "UNet2DModel":
    """A student whose weights are to be loaded, from the configuration of its teacher."""
    from diffusers import UNet2DModel

    made: UNet2DModel = UNet2DModel.from_config(config)
    return sliced(made, choices)


def _shrink(student: "UNet2DModel", unit: Unit, choice: Choice) -> None:
    resnet = student.get_submodule(unit.name)
    if choice.width == 0:
        student.set_submodule(unit.name, Shortcut(resnet.conv_shortcut))
    else:
        _narrow(resnet, unit, choice)
    if unit.has_attention and not choice.attention:
        student.set_submodule(unit.attention, NoAttention())


def _narrow(resnet: Any, unit: Unit, choice: Choice) -> None:
    kept = kept_channels(resnet, unit, choice.width)
    time = torch.cat([kept, unit.outputs + kept]) if unit.is_scaled else kept
    with torch.no_grad():
        norm = nn.GroupNorm(unit.groups_of(choice.width), choice.width, eps=resnet.norm2.eps)
        norm.weight.copy_(resnet.norm2.weight[kept])
        norm.bias.copy_(resnet.norm2.bias[kept])
        projection = nn.Linear(unit.embedding, len(time))
        projection.weight.copy_(resnet.time_emb_proj.weight[time])
        projection.bias.copy_(resnet.time_emb_proj.bias[time])
        conv1 = _conv(resnet.conv1.weight[kept], resnet.conv1.bias[kept], choice.kernel)
        conv2 = _conv(resnet.conv2.weight[:, kept], resnet.conv2.bias, choice.kernel)
    device, dtype = resnet.conv1.weight.device, resnet.conv1.weight.dtype
    for name, layer in (("norm2", norm), ("time_emb_proj", projection), ("conv1", conv1), ("conv2", conv2)):
        setattr(resnet, name, layer.to(device, dtype))


def kept_channels(resnet: Any, unit: Unit, width: int) -> Tensor:
    """The channels between the two convolutions that matter most, in their order.  → (width,)

    What a channel matters is the product of the norms of what makes it and of what it does: conv1's filter, the norm's
    scale and conv2's column; a group matters what its channels do together.
    """
    with torch.no_grad():
        made = resnet.conv1.weight.flatten(1).norm(dim=1)
        does = resnet.conv2.weight.transpose(0, 1).flatten(1).norm(dim=1)
        matters = (made * resnet.norm2.weight.abs() * does).reshape(unit.groups, -1)
    channels = torch.arange(unit.outputs, device=matters.device).reshape(unit.groups, -1)
    if unit.drops_groups:
        order = matters.sum(dim=1).argsort(descending=True, stable=True)
        found = channels[order[: unit.groups_of(width)]]
    else:
        order = matters.argsort(dim=1, descending=True, stable=True)
        found = channels.gather(1, order[:, : width // unit.groups])
    kept: Tensor = found.flatten().sort().values
    return kept


def _conv(weight: Tensor, bias: Tensor, kernel: int) -> nn.Conv2d:
    """A convolution with these weights, of a 3×3 kernel the middle alone if it is to be 1×1."""
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], kernel, padding=kernel // 2)
    middle = (weight.shape[-1] - kernel) // 2
    layer.weight.copy_(weight[..., middle : middle + kernel, middle : middle + kernel])
    layer.bias.copy_(bias)  # type: ignore[union-attr]
    return layer
