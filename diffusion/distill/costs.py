"""What a student costs, in closed form: what is common to all students of a teacher, and a sum over its units.

Conventions are those of `diffusion.cost.closed_form`, to the MAC and the parameter; nothing is built.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from diffusion.cost.closed_form import Convention, Layer, conv, linear
from diffusion.distill.units import Choice, Choices, Unit, blocks_of, units_of

if TYPE_CHECKING:
    from diffusers import UNet2DModel


class StudentCost(NamedTuple):
    """The cost of one network for one image."""

    params: int
    macs_paper: int
    macs_total: int

    def macs(self, convention: Convention) -> int:
        """The multiply-accumulates of one convention."""
        return self.macs_paper if convention == "paper" else self.macs_total

    def __add__(self, other: "StudentCost") -> "StudentCost":  # type: ignore[override]
        return StudentCost(*(one + another for one, another in zip(self, other, strict=True)))


def student_cost(teacher: "UNet2DModel", choices: Choices) -> StudentCost:
    """The cost of a teacher's student."""
    return common_cost(teacher) + units_cost(units_of(teacher), choices)


def units_cost(units: Iterable[Unit], choices: Choices) -> StudentCost:
    """What is left of some units together."""
    return sum((unit_cost(unit, choices[unit.name]) for unit in units), StudentCost(0, 0, 0))


def unit_cost(unit: Unit, choice: Choice) -> StudentCost:
    """What is left of a unit: norm, convolution, + time, norm, convolution, + shortcut; and its attention."""
    pixels, layers = unit.side**2, []
    if choice.width:
        projected = 2 * choice.width if unit.is_scaled else choice.width
        layers += [
            Layer(params=2 * (unit.inputs + choice.width)),  # two norms
            conv(unit.inputs, choice.width, choice.kernel, pixels),
            conv(choice.width, unit.outputs, choice.kernel, pixels),
            linear(unit.embedding, projected, 1),
        ]
    if unit.inputs != unit.outputs:
        layers.append(conv(unit.inputs, unit.outputs, 1, pixels))
    if choice.attention:
        width = unit.outputs
        layers += [Layer(params=2 * width, attention_macs=2 * width * pixels**2), *[linear(width, width, pixels)] * 4]
    return _sum(layers)


def common_cost(teacher: "UNet2DModel") -> StudentCost:
    """The time embedding, the first and the last convolution, and what changes the side between stages."""
    side = int(teacher.config["sample_size"])
    first, last = teacher.conv_in, teacher.conv_out
    embedding = teacher.time_embedding
    layers = [
        conv(first.in_channels, first.out_channels, first.kernel_size[0], side**2),
        linear(embedding.linear_1.in_features, embedding.linear_1.out_features, 1),
        linear(embedding.linear_2.in_features, embedding.linear_2.out_features, 1),
        Layer(params=2 * last.in_channels),  # the last norm
        conv(last.in_channels, last.out_channels, last.kernel_size[0], side**2),
    ]
    for _, block in blocks_of(teacher):
        for sampler in getattr(block, "downsamplers", None) or []:
            side //= 2
            layers.append(conv(sampler.conv.in_channels, sampler.conv.out_channels, 3, side**2))
        for sampler in getattr(block, "upsamplers", None) or []:
            side *= 2
            layers.append(conv(sampler.conv.in_channels, sampler.conv.out_channels, 3, side**2))
    return _sum(layers)


def _sum(layers: list[Layer]) -> StudentCost:
    whole = Layer().plus(*layers)
    return StudentCost(whole.params, whole.macs, whole.macs + whole.attention_macs)
