"""Which candidate each block takes, so that all together keep the target and what is predicted to be lost is least.

A multiple-choice knapsack with two capacities, multiply-accumulates and parameters, solved exactly by HiGHS (SciPy's
`milp`, without a gap): one candidate a block, costs and losses add up over blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp

from diffusion.errors import UserError

Floats = NDArray[np.float64]
SLACK = 1e-6  # of a capacity, in its own unit: costs are whole numbers, and the solver's tolerance is relative


@dataclass(frozen=True)
class Candidates:
    """What one block may become."""

    macs: Sequence[int]
    params: Sequence[int]
    losses: Sequence[float]  # predicted; what is compared is their sum over blocks

    def __post_init__(self) -> None:
        """Refuse lists of different lengths, none, and losses that are not finite; raises `ValueError`."""
        if not len(self.macs) == len(self.params) == len(self.losses) > 0:
            raise ValueError("each candidate of a block has multiply-accumulates, parameters and a loss")
        if not np.isfinite(self.losses).all():
            raise ValueError("the loss of a candidate is not a finite number")


class Allocation(NamedTuple):
    """A candidate of each block, and what they are together."""

    chosen: tuple[int, ...]
    macs: int
    params: int
    loss: float


@dataclass(frozen=True)
class Whole:
    """What candidates are a part of: the cost of the teacher, and what every student has of it."""

    macs: int
    params: int
    common_macs: int
    common_params: int

    def left(self, target: float) -> tuple[float, float]:
        """The multiply-accumulates and parameters that blocks may have at a target."""
        return target * self.macs - self.common_macs, target * self.params - self.common_params


def allocate(blocks: Sequence[Candidates], whole: Whole, target: float) -> Allocation:
    """The candidates of the least summed loss whose multiply-accumulates and parameters are both within the target.

    Args:
        blocks: what each block may become.
        whole: what the target is a part of.
        target: the most of the teacher's costs, from 0 to 1.

    Raises:
        UserError: nothing is so small; it says what is.
    """
    macs, params = whole.left(target)
    capacities = LinearConstraint(_sums(blocks), -np.inf, [macs + SLACK, params + SLACK])
    losses = np.concatenate([np.asarray(block.losses, dtype=np.float64) for block in blocks])
    found = _solved(losses, [_one_each(blocks), capacities])
    if found.x is None:
        least = smallest_target(blocks, whole)
        raise UserError(
            f"'--target {target:g}' is out of reach: the smallest student has {least:.3f} of the teacher's "
            "multiply-accumulates or parameters; ask for that or more"
        )
    allocation = _allocation(blocks, found.x, whole)
    assert allocation.macs <= target * whole.macs and allocation.params <= target * whole.params, "the solver is off"
    return allocation


def smallest_target(blocks: Sequence[Candidates], whole: Whole) -> float:
    """The least target that can be met: the larger of both parts, of the student for which that is smallest."""
    sums, count = _sums(blocks), sum(len(block.macs) for block in blocks)
    # minimise t: macs - t · teacher's + common ≤ 0, and the same for parameters
    parts = np.hstack([sums, [[-whole.macs], [-whole.params]]])
    capacities = LinearConstraint(parts, -np.inf, [-whole.common_macs, -whole.common_params])
    one_each = _one_each(blocks)
    padded = LinearConstraint(np.hstack([one_each.A, np.zeros((len(blocks), 1))]), 1, 1)
    found = _solved(np.append(np.zeros(count), 1.0), [padded, capacities], continuous=1)
    return float(found.x[-1])


def pareto(blocks: Sequence[Candidates], whole: Whole, points: int = 20) -> list[tuple[float, Allocation]]:
    """What is lost at targets from the smallest that can be met to the whole teacher, evenly apart."""
    targets = np.linspace(smallest_target(blocks, whole), 1.0, points)
    targets[0] += 1e-9  # what the solver finds is the least but for rounding
    return [(float(target), allocate(blocks, whole, float(target))) for target in targets]


def _sums(blocks: Sequence[Candidates]) -> Floats:
    """Costs of all candidates side by side.  (2, N)"""
    return np.array(
        [np.concatenate([block.macs for block in blocks]), np.concatenate([b.params for b in blocks])], float
    )


def _one_each(blocks: Sequence[Candidates]) -> LinearConstraint:
    """Exactly one candidate a block.  (blocks, N)"""
    owner = np.repeat(np.arange(len(blocks)), [len(block.macs) for block in blocks])
    return LinearConstraint((owner == np.arange(len(blocks))[:, None]).astype(np.float64), 1, 1)


def _solved(objective: Floats, constraints: list[LinearConstraint], continuous: int = 0) -> OptimizeResult:
    """All variables whole numbers between 0 and 1 but for the last so many."""
    kinds, highest = np.ones(len(objective)), np.ones(len(objective))
    if continuous:
        kinds[-continuous:], highest[-continuous:] = 0, np.inf
    options = {"mip_rel_gap": 0.0}
    return milp(objective, integrality=kinds, bounds=Bounds(0, highest), constraints=constraints, options=options)


def _allocation(blocks: Sequence[Candidates], x: Floats, whole: Whole) -> Allocation:
    ends = np.cumsum([len(block.macs) for block in blocks])
    chosen = tuple(int(part.argmax()) for part in np.split(x, ends[:-1]))
    pairs = list(zip(blocks, chosen, strict=True))
    return Allocation(
        chosen,
        macs=whole.common_macs + sum(block.macs[place] for block, place in pairs),
        params=whole.common_params + sum(block.params[place] for block, place in pairs),
        loss=float(sum(block.losses[place] for block, place in pairs)),
    )
