"""The noise process: betas, the forward marginal and the posterior that a reverse step imitates.

Images are in [-1, 1]. A step t counts from 0 (almost clean) to T - 1 (pure noise). The DiffNAS paper prints Eq. 4 and 5
without the bars on ᾱ; here they stand as in Ho et al. 2020, Eq. 4 and Algorithm 1. What is learned of the process is in
`diffusion.training.losses`, reverse steps are in `diffusion.samplers`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.settings import Schedule

BETA_START, BETA_END, BETA_STEPS = 1e-4, 0.02, 1000  # Ho et al. 2020, Section 4
LATENT_BETA_START, LATENT_BETA_END = 0.0015, 0.0195  # the unconditional models of Rombach et al. 2022
BETA_MAX = 0.999  # Nichol & Dhariwal 2021, Section 3.2
COSINE_OFFSET = 0.008  # s of Nichol & Dhariwal 2021, Section 3.2: √β_0 is a little less than one grey level of 2/255
FEWEST_STEPS = 50  # below, linear betas scaled by 1000/T come near one and the chain degenerates


def linear_betas(diffusion_steps: int) -> NDArray[np.float64]:
    """Linear betas scaled by 1000/T, so that the last step stays pure noise for every T.  (T,)

    Raises:
        ValueError: fewer than 50 steps.
    """
    _check_steps(diffusion_steps)
    scale = BETA_STEPS / diffusion_steps
    return np.minimum(np.linspace(scale * BETA_START, scale * BETA_END, diffusion_steps), BETA_MAX)


def cosine_betas(diffusion_steps: int) -> NDArray[np.float64]:
    """The betas of ᾱ_t = f(t) / f(0), f(t) = cos²((t/T + s) / (1 + s) · π/2) (Nichol & Dhariwal 2021, Eq. 17).  (T,)

    Raises:
        ValueError: fewer than 50 steps.
    """
    _check_steps(diffusion_steps)
    times = np.arange(diffusion_steps + 1) / diffusion_steps  # (T + 1,)
    levels = np.cos((times + COSINE_OFFSET) / (1 + COSINE_OFFSET) * np.pi / 2) ** 2  # (T + 1,), the last one zero
    variances: NDArray[np.float64] = np.minimum(1 - levels[1:] / levels[:-1], BETA_MAX)
    return variances


def scaled_linear_betas(diffusion_steps: int) -> NDArray[np.float64]:
    """Betas whose roots are linear, of latents (Rombach et al. 2022, unconditional), scaled by 1000/T.  (T,)

    Raises:
        ValueError: fewer than 50 steps.
    """
    _check_steps(diffusion_steps)
    roots = np.linspace(LATENT_BETA_START**0.5, LATENT_BETA_END**0.5, diffusion_steps)
    return np.minimum(BETA_STEPS / diffusion_steps * roots**2, BETA_MAX)


def betas(schedule: Schedule, diffusion_steps: int) -> NDArray[np.float64]:
    """The variances of the forward steps.  (T,)

    Raises:
        ValueError: fewer than 50 steps.
    """
    made = {"linear": linear_betas, "cosine": cosine_betas, "scaled_linear": scaled_linear_betas}
    return made[schedule](diffusion_steps)


def _check_steps(diffusion_steps: int) -> None:
    if diffusion_steps < FEWEST_STEPS:
        raise ValueError(f"diffusion_steps={diffusion_steps} is below {FEWEST_STEPS}, where the chain degenerates")


@dataclass(frozen=True)
class NoiseProcess:
    """The forward process q(x_t | x_0) = N(√ᾱ_t x_0, (1 - ᾱ_t) I) and its posterior q(x_{t-1} | x_t, x_0).

    Every table is (T,), float64, on the CPU; what is read from one is rounded to the images' type only then.
    """

    alphas_cumprod: Tensor  # ᾱ_t
    clean_weight: Tensor  # of x_0 in the posterior's mean (Ho et al. 2020, Eq. 7)
    noisy_weight: Tensor  # of x_t there
    posterior_variance: Tensor  # β̃_t (ibid.), zero at t = 0
    log_posterior_variance: Tensor  # log β̃_t, with β̃_1 at t = 0, as the code of Nichol & Dhariwal has it
    log_betas: Tensor  # log β_t

    @classmethod
    def make(cls, schedule: Schedule, diffusion_steps: int) -> "NoiseProcess":
        """The process of a schedule with T steps.

        Raises:
            ValueError: fewer than 50 steps.
        """
        variances = betas(schedule, diffusion_steps)
        bars = np.cumprod(1 - variances)
        before = np.append(1.0, bars[:-1])  # ᾱ_{t-1}
        posterior = variances * (1 - before) / (1 - bars)
        tables = {
            "alphas_cumprod": bars,
            "clean_weight": variances * np.sqrt(before) / (1 - bars),
            "noisy_weight": (1 - before) * np.sqrt(1 - variances) / (1 - bars),
            "posterior_variance": posterior,
            "log_posterior_variance": np.log(np.append(posterior[1], posterior[1:])),
            "log_betas": np.log(variances),
        }
        return cls(**{name: torch.from_numpy(table) for name, table in tables.items()})

    @property
    def diffusion_steps(self) -> int:
        """T."""
        return len(self.alphas_cumprod)

    def diffuse(self, images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """x_t of clean images, noise and steps (Ho et al. 2020, Eq. 4).  (N,C,H,W), (N,C,H,W), (N,) → (N,C,H,W)"""
        bars = self.alphas_cumprod[steps.cpu()]  # (N,)
        return spread(bars.sqrt(), images) * images + spread((1 - bars).sqrt(), images) * noise

    def clean(self, noisy: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """x_0 of x_t and its noise (Ho et al. 2020, Eq. 15), not clipped.  (N,C,H,W), (N,C,H,W), (N,) → (N,C,H,W)"""
        bars = self.alphas_cumprod[steps.cpu()]  # (N,)
        return spread(bars.rsqrt(), noisy) * noisy - spread((1 / bars - 1).sqrt(), noisy) * noise

    def posterior_mean(self, images: Tensor, noisy: Tensor, steps: Tensor) -> Tensor:
        """The mean of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, Eq. 7).  (N,C,H,W), (N,C,H,W), (N,) → (N,C,H,W)"""
        at = steps.cpu()
        return spread(self.clean_weight[at], images) * images + spread(self.noisy_weight[at], images) * noisy


def spread(values: Tensor, like: Tensor) -> Tensor:
    """One value an image, in the type and on the device of the images.  (N,), (N,C,H,W) → (N,1,1,1)"""
    return values.to(like.dtype).to(like.device, non_blocking=True).view(-1, 1, 1, 1)


def to_model(images: Tensor) -> Tensor:
    """uint8 pixels to the model's range [-1, 1]; latents, which are floats, as they are.  (N,C,H,W)"""
    return images if images.is_floating_point() else images.float() / 127.5 - 1


def to_pixels(images: Tensor) -> Tensor:
    """The model's range to uint8 pixels, rounded, clipped.  (N,C,H,W)"""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
