"""A Gaussian process over every member of an enumerated set, its kernel not chosen but averaged over.

A member is seen in one or more *views*: rows of numbers whose distances say how alike two members are. A kernel is a
weighted sum of one Matérn 5/2 a view. At 10 to 30 observations the likelihood hardly tells one kernel from the next,
and the most likely one is often far too sure; so each of a grid is used and weighs as much as its likelihood. All
kernels look at the same members, and what they know of each is brought up to date one observation at a time:
O(kernels · observations · members), no learning loop.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from diffusion.nag.search.acquisition import Belief, log_expected_improvement

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
LEAST_VARIANCE = 1e-6  # of a posterior, of a signal: single precision leaves no more
UNHEARD = 1e-2  # the part of the largest weight below which a kernel is left out: it costs as much as the others


class Kernel(NamedTuple):
    """How alike the scores of two members are, and how much noise is in one."""

    weights: tuple[float, ...]  # of each view, together 1
    lengths: tuple[float, ...]  # of each view; two members drawn at random are 1 apart, in the root of the mean square
    noise: float  # variance of a score's noise, as a part of the signal's


class Mixture(NamedTuple):
    """What kernels believe of all members, and how much each of them counts."""

    beliefs: list[Belief]  # of all members, each
    weights: Floats  # together 1

    def mean(self) -> Floats:
        """(members,)"""
        return np.asarray(self.weights @ np.array([belief.mean for belief in self.beliefs]), dtype=np.float64)

    def log_expected_improvement(self, observed: Sequence[int]) -> Floats:
        """Of each kernel over the highest of its own means on what is observed, averaged.  → (members,)"""
        worth = [log_expected_improvement(each, float(each.mean[observed].max())) for each in self.beliefs]
        return np.asarray(logsumexp(np.array(worth), axis=0, b=self.weights[:, None]), dtype=np.float64)


@dataclass
class GaussianProcess:
    """What is known after some observations; `observe` adds one."""

    views: Sequence[Singles]  # each (members, D), by `view`
    kernels: Sequence[Kernel]
    observed: list[int] = field(default_factory=list)
    _factors: list[Floats] = field(init=False)  # L of each kernel: K + noise = L Lᵀ  (n, n)
    _whitened: list[Singles] = field(init=False)  # L⁻¹ k(observed, member)  (n, members)
    _variance: list[Singles] = field(init=False)  # left of each member, of a signal of variance 1  (members,)

    def __post_init__(self) -> None:
        members, known = len(self.views[0]), self.observed
        self._factors = [np.zeros((0, 0)) for _ in self.kernels]
        self._whitened = [np.zeros((0, members), np.float32) for _ in self.kernels]
        self._variance = [np.ones(members, np.float32) for _ in self.kernels]
        self.observed = []
        for member in known:
            self.observe(member)

    def observe(self, member: int) -> None:
        """A member was scored; it may have been before."""
        distances = [np.sqrt(((view - view[member]) ** 2).sum(axis=1)) for view in self.views]
        count = len(self.observed)
        for at, kernel in enumerate(self.kernels):
            above, whitened = self._whitened[at][:, member].astype(np.float64), self._whitened[at]
            left = math.sqrt(max(1 + kernel.noise - float(above @ above), LEAST_VARIANCE))
            row = (covariance(kernel, distances) - above.astype(np.float32) @ whitened) / np.float32(left)
            factor = np.zeros((count + 1, count + 1))
            factor[:count, :count], factor[count, :count], factor[count, count] = self._factors[at], above, left
            self._factors[at], self._whitened[at] = factor, np.vstack([whitened, row])
            self._variance[at] = np.asarray(self._variance[at] - row**2, dtype=np.float32)
        self.observed.append(member)

    def posterior(self, targets: Floats) -> Mixture:
        """What is believed of all members' scores without noise, in the targets' unit.

        The variance of each kernel's signal is integrated out under an inverse gamma prior of shape and scale 1:
        targets are to come standardised, or nearly.

        Args:
            targets: of the observations, in their order, about zero  (n,)
        """
        solved = [np.asarray(np.linalg.solve(factor, targets), dtype=np.float64) for factor in self._factors]
        signal = np.array([(each @ each + 2) / (len(targets) + 2) for each in solved])
        determinants = np.array([np.log(np.diag(factor)).sum() for factor in self._factors])
        weights = softmax(-0.5 * (len(targets) + 2) * np.log(signal) - determinants)
        heard: list[int] = np.flatnonzero(weights >= UNHEARD * weights.max()).tolist()
        return Mixture(
            [self._belief(at, solved[at], signal[at]) for at in heard], weights[heard] / weights[heard].sum()
        )

    def _belief(self, at: int, solved: Floats, signal: float) -> Belief:
        mean = (solved.astype(np.float32) @ self._whitened[at]).astype(np.float64)
        return Belief(mean, np.sqrt(signal * np.maximum(self._variance[at], LEAST_VARIANCE).astype(np.float64)))


def covariance(kernel: Kernel, distances: Sequence[Singles]) -> Singles:
    """Of members at some distances in each view, for a signal of variance 1: Matérn 5/2.  views × (m,) → (m,)"""
    total = np.zeros_like(distances[0])
    for weight, length, distance in zip(kernel.weights, kernel.lengths, distances, strict=True):
        scaled = np.float32(math.sqrt(5) / length) * distance
        total += np.float32(weight) * (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return total


def view(features: Floats) -> Singles:
    """Features so scaled that the mean square of the distance of two members is 1.  (members, D) → (members, D)"""
    centred = features - features.mean(axis=0)
    return np.asarray(centred / math.sqrt(2 * float(centred.var(axis=0).sum())), dtype=np.float32)
