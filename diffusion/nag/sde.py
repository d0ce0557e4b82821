"""The process of DiffusionNAG: a variance-exploding SDE over scaled graphs, its loss, and its sampler.

    dA = f dt + g dw                          (Eq. 1)  here f = 0, g² = dσ²/dt: a graph is A_t = A_0 + σ(t) z
    dA = [f - g² ∇ log p_t(A)] dt̄ + g dw̄      (Eq. 2)  the same backwards, by the score ∇ log p_t
    E λ(t) ‖s(A_t, t) - ∇ log p_0t(A_t|A_0)‖²  (Eq. 3)  what trains a score, with ∇ log p_0t = (A_0 - A_t) / σ²

σ grows geometrically in t, so that it is said instead of t everywhere. A score is a function

    score(x, sigma) → ∇ log p_σ(x)            x (B,N,F) in ±1 and noisy, sigma (B,) → (B,N,F)

whether a network, a closed form or a guided one. What it knows of the clean graph is x + σ² score: E[A_0 | A_t = x]
(Tweedie's formula).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Score = Callable[[Tensor, Tensor], Tensor]

SNR = 0.16  # of the corrector's steps, by Song et al. 2021 (arXiv 2011.13456) have it for such processes


@dataclass(frozen=True)
class Process:
    """The levels of noise. At `sigma_min` quantising makes no mistake, at `sigma_max` nothing is left of a graph."""

    sigma_min: float = 0.2  # a fifth of the distance from ±1 to the threshold, and then the expectation is taken
    sigma_max: float = 5.0  # the prior is off by 4 % of a variance; twice as much made guided samples no better

    def sigma(self, t: Tensor) -> Tensor:
        """The level at times from 0 to 1, geometric."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Levels at uniform times: what training and the loss see.  → (count,)"""
        return self.sigma(torch.rand(count, generator=generator))

    def levels(self, steps: int) -> list[float]:
        """The levels of a sampler, from the largest to the smallest; `steps` of them."""
        times = torch.linspace(1, 0, steps, dtype=torch.float64)
        found: list[float] = self.sigma(times).tolist()
        return found


def denoised(score: Score, x: Tensor, sigma: Tensor) -> Tensor:
    """The clean graph that a score expects.  (B,N,F), (B,) → (B,N,F)"""
    return x + wide(sigma) ** 2 * score(x, sigma)


def matching_loss(score: Score, clean: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Eq. 3 with λ = σ⁴: the mean squared error of the expected clean graph.  (B,N,F), (B,) → ()

    With λ = σ², which is customary, the small σ count most, where graphs are as good as known.
    """
    noise = torch.randn(clean.shape, generator=generator)
    found = denoised(score, clean + wide(sigma) * noise, sigma)
    return ((found - clean) ** 2).mean()


@torch.no_grad()
def sample(
    score: Score,
    shape: tuple[int, int, int],
    generator: torch.Generator,
    *,
    process: Process | None = None,
    steps: int = 100,
    corrections: int = 1,
) -> Tensor:
    """Graphs by the reverse SDE: at each level Langevin corrections, then a step to the next; at last the expectation.

    Args:
        score: of the graphs, guided or not.
        shape: B, N and F.
        generator: of the noise.
        process: its levels.
        steps: levels on the way.
        corrections: Langevin steps at each level.

    Returns:
        Scaled graphs, (B,N,F); `quantise` makes them one-hot.
    """
    levels = (process or Process()).levels(steps)
    x = levels[0] * torch.randn(shape, generator=generator)
    for here, below in zip(levels, [*levels[1:], None], strict=True):
        sigma = torch.full((shape[0],), here)
        for _ in range(corrections):
            x = _corrected(score, x, sigma, generator)
        if below is None:
            return denoised(score, x, sigma)
        x = _stepped(score, x, sigma, below, generator)
    raise AssertionError("a sampler has a level at least")


def _stepped(score: Score, x: Tensor, sigma: Tensor, below: float, generator: torch.Generator) -> Tensor:
    """One step of Eq. 2 down to the next level, with the noise of ancestral sampling.  (Song et al. 2021, Eq. 47)

    Its variance is exact for a graph that is known, however large the step.
    """
    here = float(sigma[0])
    noise = below * math.sqrt(1 - (below / here) ** 2) * torch.randn(x.shape, generator=generator)
    return x + (here**2 - below**2) * score(x, sigma) + noise


def _corrected(score: Score, x: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """One Langevin step at a level; its size is such that noise and slope stand as `SNR`.  (Song et al., Alg. 4)"""
    slope, noise = score(x, sigma), torch.randn(x.shape, generator=generator)
    size = 2 * (SNR * _norm(noise) / _norm(slope).clamp_min(1e-12)) ** 2
    return x + size * slope + (2 * size).sqrt() * noise


def _norm(x: Tensor) -> Tensor:
    """The mean length of a batch.  (B,N,F) → ()"""
    found: Tensor = x.flatten(1).norm(dim=1).mean()
    return found


def wide(sigma: Tensor) -> Tensor:
    """(B,) → (B,1,1)"""
    return sigma[:, None, None]
