"""A UNet as blocks of residual units, and what may be left of each unit.

A block is what diffusers calls so: a down stage, the middle, an up stage. A unit is a residual block with the attention
that follows it, if there is one. What goes into and comes out of a unit never changes, so units are chosen one by one
and costs are sums over units: nothing a unit gives up is felt by the shapes of another.
"""

import re
from collections.abc import Iterator, Mapping
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from diffusion.errors import UserError
from diffusion.frozen import Frozen

if TYPE_CHECKING:
    from diffusers import UNet2DModel

RATIOS = (0.25, 0.5, 0.75, 1.0)  # of the channels between the two convolutions of a unit
KERNELS: tuple[Literal[1, 3], ...] = (1, 3)
BLOCK_TYPES = ("DownBlock2D", "AttnDownBlock2D", "UNetMidBlock2D", "UpBlock2D", "AttnUpBlock2D")
FEWEST_VALUES = 2  # of a group: one alone would be normalised to zero


class Choice(Frozen):
    """What is left of a unit."""

    width: int
    """channels between its two convolutions; 0 leaves the shortcut alone"""
    kernel: Literal[1, 3] = 3
    """of both convolutions"""
    attention: bool = False
    """whether its attention stays"""


Choices = Mapping[str, Choice]  # of every unit, by name


class Unit(NamedTuple):
    """A residual unit of a teacher: its place and its shapes."""

    name: str  # of the residual block in the network, such as "down_blocks.0.resnets.1"
    inputs: int
    outputs: int
    side: int  # of its maps
    groups: int  # of the norm between its convolutions
    embedding: int  # width of the time embedding
    is_scaled: bool  # the time embedding gives a scale and a shift, not a shift alone
    has_attention: bool

    @property
    def block(self) -> str:
        """The block that it is in."""
        return self.name.split(".resnets.")[0]

    @property
    def attention(self) -> str:
        """Where its attention lies in the network."""
        return self.name.replace(".resnets.", ".attentions.")

    @property
    def whole(self) -> Choice:
        """All that the teacher has."""
        return Choice(width=self.outputs, kernel=3, attention=self.has_attention)

    @property
    def drops_groups(self) -> bool:
        """Whether channels go in whole groups of the norm, so that it does to the others what it did before.

        Of fewer than four groups each loses channels.
        """
        return self.groups >= len(RATIOS)

    @property
    def step(self) -> int:
        """What its width is a multiple of."""
        return self.outputs // self.groups if self.drops_groups else self.groups

    def width(self, ratio: float) -> int:
        """So large a part of the channels, in steps; no group of the norm is left with a single value."""
        least = 1 if self.drops_groups else ceil(FEWEST_VALUES / self.side**2)
        return self.step * max(round(ratio * self.outputs / self.step), least)

    def groups_of(self, width: int) -> int:
        """The groups of the norm over so many channels."""
        return width // self.step if self.drops_groups else self.groups

    def choices(self, ratios: tuple[float, ...] = RATIOS) -> list[Choice]:
        """Everything that may be left of it, each once, the shortcut alone first."""
        widths = sorted({min(self.width(ratio), self.outputs) for ratio in ratios})
        bodies = [Choice(width=0, kernel=1), *(Choice(width=w, kernel=k) for w in widths for k in KERNELS)]
        flags = (False, True) if self.has_attention else (False,)
        return [body.model_copy(update={"attention": flag}) for body in bodies for flag in flags]


def units_of(teacher: "UNet2DModel") -> list[Unit]:
    """The units of a network, in the order in which data goes through them.

    Raises:
        UserError: it has blocks of other kinds, is told a class, or does not say the side of its images.
    """
    _check(teacher)
    side, found = int(teacher.config["sample_size"]), []
    for name, block in blocks_of(teacher):
        if name.startswith("up_blocks") and name != "up_blocks.0":
            side *= 2
        found += list(_units_in(name, block, side))
        if name.startswith("down_blocks") and block.downsamplers is not None:
            side //= 2
    return found


def blocks_of(network: "UNet2DModel") -> list[tuple[str, Any]]:
    """The blocks of a network by name, in the order in which data goes through them."""
    return [
        *((f"down_blocks.{index}", block) for index, block in enumerate(network.down_blocks)),
        ("mid_block", network.mid_block),
        *((f"up_blocks.{index}", block) for index, block in enumerate(network.up_blocks)),
    ]


def _units_in(name: str, block: Any, side: int) -> Iterator[Unit]:
    attentions = list(getattr(block, "attentions", None) or [])
    for index, resnet in enumerate(block.resnets):
        yield Unit(
            name=f"{name}.resnets.{index}",
            inputs=resnet.conv1.in_channels,
            outputs=resnet.conv2.out_channels,
            side=side,
            groups=resnet.norm2.num_groups,
            embedding=resnet.time_emb_proj.in_features,
            is_scaled=resnet.time_embedding_norm == "scale_shift",
            has_attention=index < len(attentions) and attentions[index] is not None,
        )


def _check(teacher: "UNet2DModel") -> None:
    kinds = {type(block).__name__ for _, block in blocks_of(teacher)}
    if other := sorted(kinds - set(BLOCK_TYPES)):
        raise UserError(f"'{other[0]}' is a kind of block that cannot be made smaller; those that can: {BLOCK_TYPES}")
    if not isinstance(teacher.config["sample_size"], int):
        raise UserError("the teacher does not say how wide its images are; give its config.json one sample_size")
    if teacher.class_embedding is not None:
        raise UserError("the teacher is told a class with each image; only unconditional networks can be compressed")


def checked_choices(units: list[Unit], choices: Choices) -> dict[str, Choice]:
    """Choices for exactly these units, in their order.

    Raises:
        UserError: a unit is missing, unknown, or cannot be so.
    """
    known = {unit.name: unit for unit in units}
    for name in (*known, *choices):
        if name not in known or name not in choices:
            raise UserError(f"'{name}' is {'not chosen' if name in known else 'no unit of this network'}")
    for name, choice in choices.items():
        if why := _why_not(known[name], choice):
            raise UserError(f"'{name}' {why}")
    return {name: choices[name] for name in known}


def _why_not(unit: Unit, choice: Choice) -> str | None:
    if choice.attention and not unit.has_attention:
        return "has no attention that could stay"
    if not 0 <= choice.width <= unit.outputs or choice.width % unit.step:
        return f"has up to {unit.outputs} channels in multiples of {unit.step}, and not {choice.width}"
    return None


def short(choices: Choices) -> str:
    """All choices in one line for people: ``d0 16 8 | mid 0+a 16 | u0 …``, the width, ``/1`` for a 1×1 kernel."""
    parts: dict[str, list[str]] = {}
    for name, choice in choices.items():
        kernel = "/1" if choice.kernel == 1 and choice.width else ""
        label = re.sub(r"(down|up)_blocks\.(\d+)", lambda m: m[1][0] + m[2], name.split(".resnets.")[0])
        label = label.replace("mid_block", "mid")
        parts.setdefault(label, []).append(f"{choice.width}{kernel}{'+a' if choice.attention else ''}")
    return " | ".join(f"{block} {' '.join(found)}" for block, found in parts.items())
