"""What a spec costs, in closed form: parameters, multiply-accumulates under both conventions, activation memory.

The formulas walk the layers of `diffusion.unet` without building them. Every term is plain arithmetic on integers, so
the same lines count one spec (Python integers) and many at once (NumPy int64 columns); no torch is imported.

Conventions: ``paper`` = convolutions and linear layers at batch 1, what DiffNAS, thop and most tables print;
``total`` = the same plus the QKᵀ and AV products of attention. Normalisation, activations and additions count nothing.
"""

from math import gcd
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import ConfigDict

from diffusion.frozen import Frozen
from diffusion.networks import HEAD_WIDTH
from diffusion.settings import Family
from diffusion.spec import UNetSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Convention = Literal["paper", "total"]
Count = Any  # an int, or an int64 array with one entry per spec

BYTES_PER_NUMBER = 4  # activations are counted in fp32


class Macs(Frozen):
    """Multiply-accumulates for one image under both conventions."""

    paper: int
    total: int

    def by(self, convention: Convention) -> int:
        """The count of one convention."""
        return self.paper if convention == "paper" else self.total


class StageCost(Frozen):
    """One resolution: its down and up blocks. The middle block counts to the last stage, the ends to stage 0."""

    stage: int
    resolution: int
    channels: int
    params: int
    macs: Macs


class Cost(Frozen):
    """The cost of one spec. `activation_bytes` is what the backward pass keeps at batch 1 in fp32, without weights."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    spec: str
    """the text form"""
    family: Family
    """`ddpm` or `iddpm`"""
    resolution: int
    """side of the images"""
    channels: int
    """channels of the images"""
    params: int
    """parameters"""
    macs: Macs
    """multiply-accumulates for one image"""
    activation_bytes: int
    """bytes kept for the backward pass of one image in fp32, without weights"""
    stages: tuple[StageCost, ...]
    """for each resolution `stage`, `resolution`, `channels`, `params` and `macs` of its down and up blocks; the middle
    block counts to the last stage, the time embedding and the first and last convolutions to stage 0, so that they add
    up to the whole"""


class Layer(NamedTuple):
    """The cost of one piece of network; pieces add up."""

    params: Count = 0
    macs: Count = 0
    attention_macs: Count = 0
    kept: Count = 0  # numbers kept for the backward pass

    def plus(self, *others: "Layer") -> "Layer":
        """The sum of this piece and others."""
        params, macs, attention_macs, kept = self
        for other in others:
            params, macs = params + other[0], macs + other[1]
            attention_macs, kept = attention_macs + other[2], kept + other[3]
        return Layer(params, macs, attention_macs, kept)

    def times(self, count: Count) -> "Layer":
        """`count` pieces like this one; zero leaves it out."""
        return Layer(self[0] * count, self[1] * count, self[2] * count, self[3] * count)


class Shape(NamedTuple):
    """What the layers of one network share."""

    embedding: Count  # width of the time embedding
    groups: Count
    scale_shift: bool
    head_width: Count  # 0 for a single head


def cost(spec: UNetSpec, family: Family = "ddpm", resolution: int = 32, channels: int = 3) -> Cost:
    """The exact cost of one spec; equal, to the MAC and the parameter, to counting the built network."""
    stages = _count(spec.row, family, resolution, channels)
    whole = Layer().plus(*stages)
    return Cost(
        spec=str(spec),
        family=family,
        resolution=resolution,
        channels=channels,
        params=whole.params,
        macs=Macs(paper=whole.macs, total=whole.macs + whole.attention_macs),
        activation_bytes=whole.kept * BYTES_PER_NUMBER,
        stages=tuple(
            StageCost(
                stage=index,
                resolution=resolution >> index,
                channels=spec.channels[index],
                params=layer.params,
                macs=Macs(paper=layer.macs, total=layer.macs + layer.attention_macs),
            )
            for index, layer in enumerate(stages)
        ),
    )


class Costs(NamedTuple):
    """The costs of many specs, one int64 entry each.  (N,)"""

    params: "NDArray[np.int64]"
    macs_paper: "NDArray[np.int64]"
    macs_total: "NDArray[np.int64]"
    activation_bytes: "NDArray[np.int64]"

    def macs(self, convention: Convention) -> "NDArray[np.int64]":
        """The counts of one convention.  (N,)"""
        return self.macs_paper if convention == "paper" else self.macs_total


def costs(rows: "NDArray[np.int64]", family: Family = "ddpm", resolution: int = 32, channels: int = 3) -> Costs:
    """The costs of many specs at once; rows as in `UNetSpec.row`.  (N, 2 + 2 stages) → 4 × (N,)"""
    import numpy as np  # where many are counted: who counts one, or shows what was counted, goes without

    columns = tuple(np.asarray(rows, dtype=np.int64).T)
    whole = Layer().plus(*_count(columns, family, resolution, channels))
    return Costs(whole.params, whole.macs, whole.macs + whole.attention_macs, whole.kept * BYTES_PER_NUMBER)


def _count(row: Any, family: Family, resolution: int, channels: int) -> list[Layer]:
    """The layers of each stage, full resolution first, for the integers of one row or the columns of many."""
    count = len(row) // 2 - 1
    base, blocks, attn = row[0], row[1], row[2 + count :]
    widths = [base * multiplier for multiplier in row[2 : 2 + count]]
    shape = _shape(base, widths, family, resolution)
    sides = [resolution >> index for index in range(count)]
    stages = [
        Layer().plus(*(half(index, widths, attn[index], blocks, sides, shape) for half in (_down, _up)))
        for index in range(count)
    ]
    outputs = channels * 2 if family == "iddpm" else channels
    stages[0] = stages[0].plus(*_ends(base, widths[0], channels, outputs, resolution, shape))
    stages[-1] = stages[-1].plus(*_middle(widths[-1], sides[-1], shape))
    return stages


def _shape(base: Count, widths: list[Count], family: Family, resolution: int) -> Shape:
    """Shared widths; the groups follow `diffusion.unet.norm_groups`."""
    values = (resolution >> (len(widths) - 1)) ** 2
    common: Count
    groups: Count
    head_width: Count
    if not isinstance(base, int):
        import numpy as np

        common, narrowest, head_width = np.gcd.reduce(widths), np.minimum(*widths[-2:]), np.gcd(base, HEAD_WIDTH)
        fits = [np.where((common % n == 0) & (narrowest // n * values >= 2), n, 1) for n in range(1, 33)]
        groups = np.max(fits, axis=0)
    else:
        common, narrowest, head_width = gcd(*widths), min(widths[-2:]), gcd(base, HEAD_WIDTH)
        groups = next(n for n in range(32, 0, -1) if common % n == 0 and narrowest // n * values >= 2)
    iddpm = family == "iddpm"
    return Shape(4 * widths[0], groups, iddpm, head_width if iddpm else 0)  # 4: diffusers' embedding width


def _down(index: int, widths: list[Count], attn: Count, blocks: Count, sides: list[int], shape: Shape) -> Layer:
    """`blocks` residual blocks, each followed by attention, and a strided convolution except at the last stage."""
    width, pixels = widths[index], sides[index] ** 2
    layer = _resnet(widths[max(index - 1, 0)], width, pixels, shape).plus(
        _resnet(width, width, pixels, shape).times(blocks - 1), _attention(width, pixels, shape).times(attn * blocks)
    )
    if index < len(widths) - 1:
        padded = (sides[index] + 1) ** 2  # diffusers pads right and below by one
        layer = layer.plus(conv(width, width, 3, sides[index + 1] ** 2)._replace(kept=width * padded))
    return layer


def _up(index: int, widths: list[Count], attn: Count, blocks: Count, sides: list[int], shape: Shape) -> Layer:
    """`blocks` + 1 residual blocks on concatenated skips, and upsampling with a convolution except at stage 0."""
    width, pixels = widths[index], sides[index] ** 2
    below = widths[min(index + 1, len(widths) - 1)]
    skip = widths[max(index - 1, 0)]
    layer = _resnet(below + width, width, pixels, shape).plus(
        _resnet(2 * width, width, pixels, shape).times(blocks - 1),
        _resnet(width + skip, width, pixels, shape),
        _attention(width, pixels, shape).times(attn * (blocks + 1)),
    )
    if index > 0:
        layer = layer.plus(conv(width, width, 3, sides[index - 1] ** 2))
    return layer


def _middle(width: Count, side: int, shape: Shape) -> tuple[Layer, ...]:
    return (_resnet(width, width, side**2, shape).times(2), _attention(width, side**2, shape))


def _ends(base: Count, width: Count, inputs: int, outputs: int, resolution: int, shape: Shape) -> tuple[Layer, ...]:
    """The time embedding, the first and the last convolution."""
    embedding, pixels = shape.embedding, resolution**2
    closing = conv(width, outputs, 3, pixels)
    return (
        Layer(kept=width + 3 * embedding),
        linear(width, embedding, 1),
        linear(embedding, embedding, 1),
        conv(inputs, width, 3, pixels),
        closing._replace(params=closing.params + 2 * width, kept=3 * width * pixels + 2 * shape.groups),
    )


def conv(inputs: Count, outputs: Count, kernel: int, pixels: int) -> Layer:
    """A convolution with bias; `pixels` of its output. It keeps its input (of as many pixels)."""
    weights = inputs * outputs * kernel**2
    return Layer(weights + outputs, weights * pixels, 0, inputs * pixels)


def linear(inputs: Count, outputs: Count, rows: int) -> Layer:
    """A linear layer with bias on `rows` vectors; what it keeps is counted where it is used."""
    return Layer(inputs * outputs + outputs, inputs * outputs * rows)


def _resnet(inputs: Count, outputs: Count, pixels: int, shape: Shape) -> Layer:
    """norm, SiLU, 3×3, + time, norm, SiLU, 3×3, + shortcut (1×1 where the width changes)."""
    projected = 2 * outputs if shape.scale_shift else outputs
    shortcut = inputs != outputs
    params = (
        2 * (inputs + outputs)  # two norms
        + 9 * outputs * (inputs + outputs) + 2 * outputs  # two 3×3 convolutions
        + (shape.embedding + 1) * projected
        + shortcut * (inputs * outputs + outputs)
    )  # fmt: skip
    macs = (9 * outputs * (inputs + outputs) + shortcut * inputs * outputs) * pixels + shape.embedding * projected
    kept = 3 * (inputs + outputs) * pixels + 4 * shape.groups + shape.embedding
    if shape.scale_shift:
        kept = kept + outputs * pixels + outputs  # the scaled norm and the scale
    return Layer(params, macs, 0, kept)


def _attention(width: Count, pixels: int, shape: Shape) -> Layer:
    """norm, four linear layers, and softmax(QKᵀ)V over `pixels` positions; the number of heads changes no MACs."""
    heads = width // shape.head_width if shape.scale_shift else 1
    return Layer(
        params=4 * width * (width + 1) + 2 * width,
        macs=4 * width * width * pixels,
        attention_macs=2 * width * pixels**2,
        kept=6 * width * pixels + heads * pixels + 2 * shape.groups,
    )


BACKWARD_FACTOR = 3  # a step is a forward pass and twice as much for the backward pass
