"""The noise process of DDPM (Ho et al. 2020): betas, the forward marginal and the training loss.

Images are in [-1, 1]. A step t counts from 0 (almost clean) to T - 1 (pure noise). The DiffNAS paper prints Eq. 4 and 5
without the bars on ᾱ; here they stand as in Ho et al., Eq. 4 and Algorithm 1. Reverse steps are in `diffusion.sample`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffusion.settings import Schedule

BETA_START, BETA_END, BETA_STEPS = 1e-4, 0.02, 1000  # Ho et al. 2020, Section 4
BETA_MAX = 0.999  # Nichol & Dhariwal 2021, Section 3.2
FEWEST_STEPS = 50  # below, linear betas scaled by 1000/T come near one and the chain degenerates


def linear_betas(diffusion_steps: int) -> NDArray[np.float64]:
    """Linear betas scaled by 1000/T, so that the last step stays pure noise for every T.  (T,)

    Raises:
        ValueError: fewer than 50 steps.
    """
    if diffusion_steps < FEWEST_STEPS:
        raise ValueError(f"diffusion_steps={diffusion_steps} is below {FEWEST_STEPS}, where linear betas degenerate")
    scale = BETA_STEPS / diffusion_steps
    return np.minimum(np.linspace(scale * BETA_START, scale * BETA_END, diffusion_steps), BETA_MAX)


def betas(schedule: Schedule, diffusion_steps: int) -> NDArray[np.float64]:
    """The variances of the forward steps.  (T,)"""
    if schedule == "linear":
        return linear_betas(diffusion_steps)
    raise NotImplementedError(f"the schedule {schedule} belongs to the family iddpm, which is not built yet")


@dataclass(frozen=True)
class NoiseProcess:
    """The forward process q(x_t | x_0) = N(√ᾱ_t x_0, (1 - ᾱ_t) I)."""

    alphas_cumprod: Tensor  # (T,) float64 on the CPU

    @classmethod
    def make(cls, schedule: Schedule, diffusion_steps: int) -> "NoiseProcess":
        """The process of a schedule with T steps."""
        return cls(torch.from_numpy(np.cumprod(1 - betas(schedule, diffusion_steps))))

    @property
    def diffusion_steps(self) -> int:
        """T."""
        return len(self.alphas_cumprod)

    def diffuse(self, images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """x_t of clean images, noise and steps (Ho et al. 2020, Eq. 4).  (N,C,H,W), (N,C,H,W), (N,) → (N,C,H,W)"""
        bar = self.alphas_cumprod[steps.cpu()].to(images.device)  # (N,)
        signal, deviation = bar.sqrt().to(images.dtype), (1 - bar).sqrt().to(images.dtype)
        return signal.view(-1, 1, 1, 1) * images + deviation.view(-1, 1, 1, 1) * noise

    def loss(self, model: nn.Module, images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """The mean squared error of the predicted noise, L_simple (Ho et al. 2020, Eq. 14).  → ()"""
        predicted = model(self.diffuse(images, noise, steps), steps).sample  # (N,C,H,W)
        return nn.functional.mse_loss(predicted.float(), noise)


def to_model(images: Tensor) -> Tensor:
    """uint8 pixels to the model's range [-1, 1].  (N,C,H,W)"""
    return images.float() / 127.5 - 1


def to_pixels(images: Tensor) -> Tensor:
    """The model's range to uint8 pixels, rounded, clipped.  (N,C,H,W)"""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
