"""The score without training: what a set of graphs is known to be, noise and Bayes' theorem do the rest.

Of the members m of a factor, all as likely, and of Gaussian noise on ±1, p(m | x) ∝ exp(-‖x - m‖² / 2σ²) is a softmax
of ⟨x, m⟩ / σ², and E[A_0 | A_t = x] is the mean of the members under it. Of independent factors each has its own: for a
product of single rows that is a softmax a node. One factor that holds every row is an enumerated set, whose score
memorises it: nothing is generated that is not in it, which is right for a feasible set that one wants to stay in.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffusion.nag.graphs import Factor, GraphSpace
from diffusion.nag.sde import wide


class ClosedForm:
    """The exact score of independent factors, every member of one as likely as the others."""

    def __init__(self, factors: Sequence[Factor]) -> None:
        self._parts = [(list(factor.rows), factor.members.flatten(1).double()) for factor in factors]
        self._allowed = _operators(factors)

    def probabilities(self, x: Tensor, sigma: Tensor) -> list[Tensor]:
        """How likely each member of each factor is.  (B,N,F), (B,) → for each factor (B,M)"""
        return [self._posterior(x, sigma, rows, members) for rows, members in self._parts]

    def denoised(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[A_0 | A_t = x].  (B,N,F), (B,) → (B,N,F)"""
        return 2 * self.soft(x, sigma) - 1

    def soft(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The expected one-hot graph, between 0 and 1; differentiable in x.  (B,N,F), (B,) → (B,N,F)"""
        if self._allowed is not None:
            likeness = (2 * x.double() / wide(sigma).double() ** 2).masked_fill(~self._allowed, -torch.inf)
            return torch.softmax(likeness, dim=2).to(x.dtype)
        pieces, rows = [], []
        for at, members in self._parts:
            mean = self._posterior(x, sigma, at, members) @ members
            pieces.append(mean.reshape(len(x), len(at), x.shape[2]))
            rows += at
        return torch.cat(pieces, dim=1)[:, torch.tensor(rows).argsort()].to(x.dtype)

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        """∇ log p_σ(x).  (B,N,F), (B,) → (B,N,F)"""
        return (self.denoised(x, sigma) - x) / wide(sigma) ** 2

    @staticmethod
    def _posterior(x: Tensor, sigma: Tensor, rows: list[int], members: Tensor) -> Tensor:
        """⟨x, ±1⟩ is twice ⟨x, one-hot⟩ less what all members share; in double precision.  (B,N,F) → (B,M)"""
        likeness = x[:, rows].flatten(1).double() @ members.T
        return torch.softmax(2 * likeness / sigma[:, None].double() ** 2, dim=1)


def _operators(factors: Sequence[Factor]) -> Tensor | None:
    """Which operators each row has, where every row varies by itself and has exactly one: then all are one softmax."""
    if any(len(factor.rows) > 1 or bool((factor.members.sum(dim=-1) != 1).any()) for factor in factors):
        return None
    order = sorted(factors, key=lambda factor: factor.rows)
    return torch.stack([factor.members.any(dim=0)[0] for factor in order])  # (N,F)


def product_score(space: GraphSpace[Any]) -> ClosedForm:
    """The score of a whole space, uniform over its architectures."""
    return ClosedForm(space.factors)


def set_score(graphs: Tensor) -> ClosedForm:
    """The score of an enumerated set, uniform over it.  (M,N,F) one-hot"""
    return ClosedForm([Factor(tuple(range(graphs.shape[1])), graphs)])
