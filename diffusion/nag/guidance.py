"""Guidance (DiffusionNAG, Eq. 6 to 9): the score of graphs that have a property, by gradients of what predicts it.

    ∇ log p_t(A_t | y) = ∇ log p_t(A_t) + ∇ log p_t(y | A_t)           (Eq. 7)
    ∇ log p_t(y | A_t) ≈ ∇ log f(y | A_t)                              (Eq. 8)
    the sampler follows s(A_t, t) + k_t ∇ log f(y | A_t)               (Eq. 9), of several properties the sum

A property is anything that says log f(y | A_t) of noisy graphs; it comes with its own scale, and none is trained with
the score. What it sees of a noisy graph is the soft one, E[A_0 | A_t] by the space alone, so that its slope fades where
a graph is decided. The norm of each slope is capped against that of the score, graph by graph: a steep predictor steers
and does not throw graphs out of the space.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from diffusion.errors import UserError
from diffusion.nag.closed_form import ClosedForm
from diffusion.nag.sde import Score

CAP = 3.0  # of the norm of one guidance, in norms of the score; tried 1 to 5 (docs/diffusionnag.md)
BEST_RANK = 1.0
MOST_CORRELATED = 0.98  # beyond it a correlation of few labels is luck


class Property(Protocol):
    """What graphs are wanted to have."""

    @property
    def name(self) -> str:
        """What it is called where it goes wrong."""

    def log_likelihood(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The logarithm of f(y | A_t), up to a constant; differentiable in x.  (B,N,F), (B,) → (B,)"""


class Ranks(Protocol):
    """What predicts how graphs rank, from 0, the worst, to 1, the best."""

    @property
    def correlation(self) -> float:
        """Of the predicted ranks and those that were left out."""

    @property
    def rank_variance(self) -> float:
        """Of all ranks."""

    def ranks(self, x: Tensor, sigma: Tensor) -> Tensor:
        """By each member; differentiable in x.  (B,N,F), (B,) → (members, B)"""


@dataclass(frozen=True)
class Guide:
    """A property and how much it counts, k of Eq. 9."""

    wanted: Property
    scale: float = 1.0


@dataclass(frozen=True)
class GoodRank:
    """To be the best by a predictor: a Gaussian of the rank about the predicted one, as wide as the predictor errs.

    With ρ the correlation of ranks left out, 1 - ρ² of their variance is not predicted; and a predictor whose ρ is zero
    does not steer at all.
    """

    predictor: Ranks
    name: str = "rank"

    def log_likelihood(self, x: Tensor, sigma: Tensor) -> Tensor:
        """(B,N,F), (B,) → (B,)"""
        missing = BEST_RANK - self.predictor.ranks(x, sigma).mean(dim=0)
        return -self.confidence * missing**2 / (2 * self.predictor.rank_variance)

    @property
    def confidence(self) -> float:
        """ρ / (1 - ρ²), and nothing below zero."""
        known = min(max(self.predictor.correlation, 0.0), MOST_CORRELATED)
        return known / (1 - known**2)


@dataclass(frozen=True)
class CostBetween:
    """To cost between two bounds: a barrier on the logarithm of the expected cost, quadratic outside of them.

    The bounds are kept at a distance from what is asked for: what is expected of a soft graph is what comes out of it
    only about.
    """

    prior: ClosedForm
    expected: Callable[[Tensor], Tensor]  # of soft one-hot graphs, positive; (B,N,F) → (B,)
    most: float
    least: float = 0.0  # one-sided
    width: float = 0.02  # of the barrier, in the logarithm: costs 2 % beyond a bound are one deviation out
    margin: float = 0.04
    name: str = "cost"

    def log_likelihood(self, x: Tensor, sigma: Tensor) -> Tensor:
        """(B,N,F), (B,) → (B,)"""
        cost = self.expected(self.prior.soft(x, sigma)).log()
        above = (cost - math.log(self.most) + self.margin).clamp_min(0)
        below = (math.log(self.least) + self.margin - cost).clamp_min(0) if self.least > 0 else torch.zeros_like(cost)
        found: Tensor = -(above**2 + below**2) / (2 * self.width**2)
        return found


def guided(score: Score, guides: Sequence[Guide], cap: float = CAP) -> Score:
    """A score that is steered by properties.

    Args:
        score: of the graphs alone.
        guides: each with its scale; those of scale zero are left out.
        cap: of the norm of each guidance, in norms of the score of the same graph.

    Raises:
        UserError: when it is called and a guidance is not a number.
    """
    active = [guide for guide in guides if guide.scale != 0]

    def steered(x: Tensor, sigma: Tensor) -> Tensor:
        found = score(x, sigma)
        limit = cap * found.flatten(1).norm(dim=1)
        return found + sum((_slope(guide, x, sigma, limit) for guide in active), torch.zeros_like(x))

    return steered


def _slope(guide: Guide, x: Tensor, sigma: Tensor, limit: Tensor) -> Tensor:
    """Of one guide k ∇ log f(y | A_t), its norm capped.  (B,N,F), (B,), (B,) → (B,N,F)"""
    with torch.enable_grad():
        noisy = x.detach().requires_grad_(True)
        log_likelihood = guide.wanted.log_likelihood(noisy, sigma).sum()
        (slope,) = (
            torch.autograd.grad(log_likelihood, noisy) if log_likelihood.requires_grad else (torch.zeros_like(x),)
        )
    slope = guide.scale * slope
    if not bool(slope.isfinite().all()):
        raise UserError(
            f"'{guide.wanted.name}' gives guidance that is not a number at noise {float(sigma[0]):.2g}; "
            "look at the labels that it learned from, or set its scale to 0"
        )
    norm = slope.flatten(1).norm(dim=1).clamp_min(1e-12)
    shrunk: Tensor = slope * (limit / norm).clamp_max(1)[:, None, None]
    return shrunk
