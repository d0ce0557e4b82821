"""The MobileNetV3 space of Once-for-All (Cai et al. 2020, arXiv 1908.09791) as graphs, as DiffusionNAG has it.

Five stages of two to four layers; each layer has a kernel of 3, 5 or 7 and an expansion of 3, 4 or 6. A graph is the
chain of the 20 layers that there may be, and a layer that is absent is a row of zeros. (81 + 729 + 6561)⁵ ≈ 2.18·10¹⁹
architectures.
"""

import itertools
from functools import cache

import torch

from diffusion.errors import UserError
from diffusion.nag.graphs import Factor, GraphSpace, Places

Layer = tuple[int, int]  # kernel, expansion
Stages = tuple[tuple[Layer, ...], ...]

KERNELS, EXPANSIONS = (3, 5, 7), (3, 4, 6)
LAYERS: tuple[Layer, ...] = tuple(itertools.product(KERNELS, EXPANSIONS))
STAGES, DEPTHS = 5, (2, 3, 4)


@cache
def _stages() -> tuple[tuple[Layer, ...], ...]:
    """Every stage that there may be, the shallow ones first."""
    return tuple(stage for depth in DEPTHS for stage in itertools.product(LAYERS, repeat=depth))


@cache
def _place_of() -> dict[tuple[Layer, ...], int]:
    return {stage: place for place, stage in enumerate(_stages())}


class MobileNetV3(GraphSpace[Stages]):
    """Chains of up to 20 layers."""

    def places(self, architecture: Stages) -> Places:
        """Where each stage stands among all that it may be; raises `UserError`."""
        if len(architecture) != STAGES or not all(stage in _place_of() for stage in architecture):
            raise UserError(
                f"{architecture} is not of the space {self.name}: it has {STAGES} stages of {DEPTHS[0]} to {DEPTHS[-1]}"
                f" layers (kernel, expansion), kernels of {KERNELS} and expansions of {EXPANSIONS}"
            )
        return tuple(_place_of()[stage] for stage in architecture)

    def architecture(self, places: Places) -> Stages:
        """The stages at places."""
        return tuple(_stages()[place] for place in places)


@cache
def mobilenet_v3() -> MobileNetV3:
    """The space; the same object each time."""
    deepest = DEPTHS[-1]
    members = torch.zeros(len(_stages()), deepest, len(LAYERS), dtype=torch.bool)
    for place, stage in enumerate(_stages()):
        for row, layer in enumerate(stage):
            members[place, row, LAYERS.index(layer)] = True
    rows = [tuple(range(stage * deepest, (stage + 1) * deepest)) for stage in range(STAGES)]
    return MobileNetV3(
        name="mobilenet-v3",
        operators=tuple(f"k{kernel}-e{expansion}" for kernel, expansion in LAYERS),
        edges=tuple(itertools.pairwise(range(STAGES * deepest))),
        factors=tuple(Factor(each, members) for each in rows),
    )
