"""UNet specs as graphs: [BASE, BLOCKS, S0, S1, …], a node for each decision that a spec is.

BASE and BLOCKS point to every stage, each stage to the next. The vocabularies are disjoint and come from the search's
own space: 6 base channels + 5 numbers of blocks + 8 kinds of stage (multiplier × attention) = 19 for ``images-32``.
"""

import itertools
from dataclasses import dataclass

import torch

from diffusion.errors import UserError
from diffusion.nag.graphs import Factor, GraphSpace, Places
from diffusion.space import SearchSpace
from diffusion.spec import UNetSpec

BASE, BLOCKS, FIRST_STAGE = 0, 1, 2  # rows
Stage = tuple[int, bool]  # multiplier, attention


@dataclass(frozen=True, eq=False)
class UNetGraphs(GraphSpace[UNetSpec]):
    """The graphs of the specs of a search space."""

    space: SearchSpace

    def places(self, architecture: UNetSpec) -> Places:
        """Where each number of a spec stands among its choices; raises `UserError`."""
        if sentence := self.space.why_not(architecture):
            raise UserError(f"{architecture} is no graph of {self.name}: {sentence}")
        stages = zip(architecture.channel_mult, architecture.attn, strict=True)
        return (
            self.space.base_channel.index(architecture.base_channel),
            self.space.num_blocks.index(architecture.num_blocks),
            *(kinds.index(stage) for kinds, stage in zip(stage_kinds(self.space), stages, strict=True)),
        )

    def architecture(self, places: Places) -> UNetSpec:
        """The spec at places."""
        base, blocks, *others = places
        stages = [kinds[place] for kinds, place in zip(stage_kinds(self.space), others, strict=True)]
        return UNetSpec(
            base_channel=self.space.base_channel[base],
            num_blocks=self.space.num_blocks[blocks],
            channel_mult=tuple(multiplier for multiplier, _ in stages),
            attn=tuple(attention for _, attention in stages),
        )


def stage_kinds(space: SearchSpace) -> list[tuple[Stage, ...]]:
    """What each stage may be, by multiplier and then attention."""
    return [tuple(itertools.product(*choices)) for choices in zip(space.channel_mult, space.attn, strict=True)]


def unet_graphs(space: SearchSpace) -> UNetGraphs:
    """A search space as graphs."""
    kinds = stage_kinds(space)
    vocabulary = sorted(set(itertools.chain(*kinds)))
    heads = len(space.base_channel) + len(space.num_blocks)
    eye = torch.eye(heads + len(vocabulary), dtype=torch.bool)[:, None]  # (F,1,F): one operator a row
    last = FIRST_STAGE + space.stages
    stages = [
        Factor((FIRST_STAGE + row,), eye[[heads + vocabulary.index(k) for k in of]]) for row, of in enumerate(kinds)
    ]
    return UNetGraphs(
        name=space.name,
        operators=(
            *(f"base {channels}" for channels in space.base_channel),
            *(f"blocks {blocks}" for blocks in space.num_blocks),
            *(f"×{multiplier}{' with attention' if attention else ''}" for multiplier, attention in vocabulary),
        ),
        edges=(
            *itertools.product((BASE, BLOCKS), range(FIRST_STAGE, last)),
            *itertools.pairwise(range(FIRST_STAGE, last)),
        ),
        factors=(
            Factor((BASE,), eye[: len(space.base_channel)]),
            Factor((BLOCKS,), eye[len(space.base_channel) : heads]),
            *stages,
        ),
        space=space,
    )
