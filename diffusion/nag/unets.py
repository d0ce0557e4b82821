"""UNet specs as graphs: [BASE, BLOCKS, S0, S1, …], a node for each decision that a spec is.

BASE and BLOCKS point to every stage, each stage to the next. The vocabularies are disjoint and come from the search's
own space: 6 base channels + 5 numbers of blocks + 8 kinds of stage (multiplier × attention) = 19 for ``images-32``.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.errors import UserError
from diffusion.nag.graphs import Factor, GraphSpace, Places
from diffusion.space import SearchSpace
from diffusion.spec import Rows, UNetSpec

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


class ExpectedCost:
    """What a spec costs on average when each of its rows is uncertain by itself: multilinear, so differentiable.

    Given base channels and blocks, parameters and multiply-accumulates are sums over pairs of stages: a layer has two
    widths, and a projection of the time embedding that of stage 0 and its own. So their differences from the first
    kind of each stage, taken by one and by two stages, say all (tests compare every spec of a space).
    """

    def __init__(self, graphs: UNetGraphs, cost: Callable[[Rows], NDArray[np.int64]]) -> None:
        """Tabulate a cost.

        Args:
            graphs: of the specs.
            cost: of many rows, (N, 2 + 2 stages) → (N,); see `diffusion.cost.closed_form.costs`.
        """
        space = graphs.space
        self._columns = [graphs.allowed[row].nonzero().flatten() for row in range(graphs.nodes)]
        heads = np.array(list(itertools.product(space.base_channel, space.num_blocks)))  # (C,2)
        table = _Table(heads, stage_kinds(space), cost)
        stages = range(space.stages)
        self._first = table.of(set())  # (C)
        self._single = {i: table.of({i}) - self._first[:, None] for i in stages}  # (C,K_i)
        self._pair = {
            (i, j): table.of({i, j})
            - self._first[:, None, None]
            - self._single[i][:, :, None]
            - self._single[j][:, None, :]
            for i, j in itertools.combinations(stages, 2)
        }  # (C,K_i,K_j)

    def __call__(self, soft: Tensor) -> Tensor:
        """The expected cost of soft one-hot graphs.  (B,N,F) → (B,) float64"""
        parts = [soft[:, row, columns].double() for row, columns in enumerate(self._columns)]
        base, blocks, *kinds = parts
        heads = (base[:, :, None] * blocks[:, None, :]).flatten(1)  # (B,C)
        found = heads @ self._first
        for i, single in self._single.items():
            found = found + ((heads @ single) * kinds[i]).sum(dim=1)
        for (i, j), pair in self._pair.items():
            of_pair = (heads @ pair.flatten(1)).reshape(-1, *pair.shape[1:])  # (B,K_i,K_j)
            found = found + torch.einsum("bkl,bk,bl->b", of_pair, kinds[i], kinds[j])
        return found


@dataclass(frozen=True)
class _Table:
    """The cost of specs whose stages are the first of their kinds, but for some."""

    heads: NDArray[np.int64]  # (C,2): base channels and blocks
    kinds: list[tuple[Stage, ...]]
    cost: Callable[[Rows], NDArray[np.int64]]

    def of(self, free: set[int]) -> Tensor:
        """For all kinds of the free stages.  → (C, kinds of the first free stage, of the second)"""
        choices = [kinds if stage in free else kinds[:1] for stage, kinds in enumerate(self.kinds)]
        rows = [
            [*head, *(multiplier for multiplier, _ in stages), *(attention for _, attention in stages)]
            for head, stages in itertools.product(self.heads, itertools.product(*choices))
        ]
        shape = [len(self.heads), *(len(self.kinds[stage]) for stage in sorted(free))]
        return torch.from_numpy(self.cost(np.array(rows, dtype=np.int64))).double().reshape(shape)
