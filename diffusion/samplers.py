"""Images from a trained network, by one of four samplers.

| sampler | reverse steps | visits |
| --- | --- | --- |
| ``ddpm`` | ancestral with a fixed variance (Ho et al. 2020, Algorithm 2) | from T - 1 to 0, evenly |
| ``iddpm`` | ancestral with the learned variance (Nichol & Dhariwal 2021) | the same |
| ``ddim`` | deterministic, η = 0 (Song et al. 2021) | from T - 1 down in strides of T/n |
| ``dpm-solver++`` | deterministic, second order, multistep (Lu et al. 2022) | the same |

A model is called as ``model(images, step).sample`` with images (N,C,R,R) and one step for all of them. Its first C
channels predict their noise; in the family iddpm C channels of the learned variance follow. Every sampler clips to
[-1, 1] the clean image that a prediction implies; latents have no bounds. Each image has its own generator on the CPU,
a function of (seed, index), which gives first its starting noise and then, for the ancestral samplers, the noise of
each step: so images depend neither on the batch size nor on who draws the others, and a `DDPMPipeline` that is given
the same generators draws the same. Nothing here is trained, scored or written.
"""

from collections.abc import Callable
from math import expm1, inf
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffusion.data.pictures import Values
from diffusion.errors import UserError
from diffusion.process import betas, to_pixels
from diffusion.settings import Sampling, Settings, choose_sampling
from diffusion.streams import generator

if TYPE_CHECKING:
    from diffusers import DDPMScheduler

LARGEST_BATCH = 256
CPU_PIXELS = 4 * 128 * 128  # of a batch

Predict = Callable[[Tensor, Tensor], Tensor]  # images (n,C,R,R) and a step () to noise (n,C,R,R) or noise and variance


def sample_images(
    model: nn.Module,
    settings: Settings,
    sampling: Sampling,
    *,
    diffusion_steps: int,
    indices: range,
    seed: int,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    on_progress: Callable[[int], None] = lambda done: None,
) -> Values:
    """The images of a seed that have these indices; `on_progress` is told how many are done.  → (len(indices), C, R, R)

    They are uint8, or float32 where they are latents. Without a `batch_size` the one that suits the device is taken
    (`usual_batch_size`).

    Raises:
        UserError: the family or the number of diffusion steps does not allow this sampling.
    """
    batch_size = batch_size or usual_batch_size(settings.resolution, torch.device(device).type)
    shape = (len(indices), settings.channels, settings.resolution, settings.resolution)
    images: Values = np.empty(shape, dtype=np.float32 if settings.values else np.uint8)
    for first in range(0, len(indices), batch_size):
        batch = indices[first : first + batch_size]
        drawn = sample_tensors(
            model, settings, sampling, diffusion_steps=diffusion_steps, indices=batch, seed=seed, device=device
        )
        images[first : first + len(batch)] = (drawn.float() if settings.values else to_pixels(drawn)).cpu().numpy()
        on_progress(first + len(batch))
    return images


def usual_batch_size(resolution: int, device_type: str) -> int:
    """Images at once: 256, on a CPU at most as many as four 128×128 images have pixels.

    There, more take memory and hardly save time, now that jobs keep what they freed: at 32×32 batches of 256 instead of
    64 save 4 % of the CPU time and hold 1.6 times as much (docs/log.md, 2026-11-28).
    """
    return LARGEST_BATCH if device_type != "cpu" else min(LARGEST_BATCH, max(1, CPU_PIXELS // resolution**2))


def sample_tensors(
    model: nn.Module,
    settings: Settings,
    sampling: Sampling,
    *,
    diffusion_steps: int,
    indices: range,
    seed: int,
    device: torch.device | str = "cpu",
) -> Tensor:
    """One batch of the same images before they become pixels, on the device.  → (len(indices), C, R, R)

    They are in [-1, 1], or latents. The model goes to the device, and into evaluation mode while it samples.

    Raises:
        UserError: as `sample_images` does.
    """
    sampling = _completed(settings, sampling, diffusion_steps)
    shape = (settings.channels, settings.resolution, settings.resolution)
    generators = [generator(seed, "sample", index) for index in indices]
    noise = torch.stack([torch.randn(shape, generator=one) for one in generators]).to(device)  # (n, C, R, R)
    channels = (2 if sampling.variance == "learned_range" else 1) * settings.channels

    def predict(images: Tensor, step: Tensor) -> Tensor:
        output: Tensor = model(images, step.to(images.device, non_blocking=True)).sample[:, :channels]
        return output

    training = model.training
    model.to(device).eval()
    try:
        with torch.no_grad():
            if sampling.variance is not None:
                scheduler = scheduler_for(settings, sampling, diffusion_steps)
                return _ancestral(predict, noise, generators, scheduler, sampling.steps)
            draw = _ddim if sampling.sampler == "ddim" else _dpm_solver
            bound = inf if settings.values else 1.0
            return draw(predict, noise, betas(settings.schedule, diffusion_steps), sampling.steps, bound)
    finally:
        model.train(training)


def scheduler_for(settings: Settings, sampling: Sampling, diffusion_steps: int) -> "DDPMScheduler":
    """The scheduler of the samplers ddpm and iddpm, as a `DDPMPipeline` carries it; its steps are not set yet.

    Its ``linspace`` spacing is the even one of Nichol & Dhariwal's code, from the last step to the first.

    Raises:
        UserError: ddim or dpm-solver++, with which no `DDPMPipeline` draws; or as `sample_images` does.
    """
    from diffusers import DDPMScheduler

    sampling = _completed(settings, sampling, diffusion_steps)
    if sampling.variance is None:
        raise UserError(f"'{sampling.sampler}' is no sampler of a DDPMPipeline; take ddpm, or iddpm for its family")
    return DDPMScheduler(
        num_train_timesteps=diffusion_steps,
        trained_betas=betas(settings.schedule, diffusion_steps).tolist(),
        variance_type=sampling.variance,
        clip_sample=settings.values is None,
        timestep_spacing="linspace",
    )


def trailing_steps(diffusion_steps: int, sampling_steps: int) -> list[int]:
    """T - 1 and on down in n strides of T/n, each rounded to the nearest step; they differ for every n up to T.  (n,)

    diffusers' ``trailing`` adds strides up in floating point and for some n comes to n + 1 of them; its ``leading``
    never visits the last, noisiest step.
    """
    multiples = diffusion_steps * np.arange(sampling_steps, 0, -1)  # (n,)
    return [int(step) - 1 for step in np.round(multiples / sampling_steps)]


def _completed(settings: Settings, sampling: Sampling, diffusion_steps: int) -> Sampling:
    """The sampling with the usual variance if it names none; refused if it cannot be."""
    usual = choose_sampling(sampling.sampler, sampling.steps, settings.family, diffusion_steps)
    return sampling if usual.variance and sampling.variance else usual


def _ancestral(
    predict: Predict, images: Tensor, generators: list[torch.Generator], scheduler: "DDPMScheduler", sampling_steps: int
) -> Tensor:
    """Noise to images by Algorithm 2 of Ho et al. 2020; respaced, β_t is 1 - ᾱ_t / ᾱ of the next step.  (n, C, R, R)"""
    scheduler.set_timesteps(sampling_steps)  # on the CPU, where reading one waits for no device
    for step in scheduler.timesteps:
        images = scheduler.step(predict(images, step), step, images, generator=generators).prev_sample
    return images


def _ddim(
    predict: Predict, images: Tensor, variances: NDArray[np.float64], sampling_steps: int, bound: float
) -> Tensor:
    """Noise to images by Eq. 12 of Song et al. 2021 with σ = 0.  (n, C, R, R)

    Bit for bit diffusers' DDIMScheduler where the steps divide T; from others it derives strides that miss the end.
    """
    bars, steps = _bars(variances), torch.tensor(trailing_steps(len(variances), sampling_steps))
    bars_after = [*bars[steps[1:]], torch.ones(())]
    for step, bar, bar_after in zip(steps, bars[steps], bars_after, strict=True):
        predicted = predict(images, step)
        images = bar_after**0.5 * _clean(images, predicted, bar, bound) + (1 - bar_after) ** 0.5 * predicted
    return images


def _dpm_solver(
    predict: Predict, images: Tensor, variances: NDArray[np.float64], sampling_steps: int, bound: float
) -> Tensor:
    """Noise to images by DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, Algorithm 2).  (n, C, R, R)

    The first step and the last, to no noise at all, are of first order. diffusers' scheduler does the same, but clips
    by way of quantiles, takes every learned variance for that of three channels, and does not run without warnings.
    """
    steps = trailing_steps(len(variances), sampling_steps)
    known = np.cumprod(1 - variances)[steps]  # (n,)
    bars: list[float] = known.tolist()  # ᾱ
    levels: list[float] = (np.log(known / (1 - known)) / 2).tolist()  # λ, half the logarithm of signal to noise
    earlier = images  # the clean image one step before; there is none yet
    for index in range(sampling_steps - 1):
        clean = _clean(images, predict(images, torch.tensor(steps[index])), bars[index], bound)
        stride, direction = levels[index + 1] - levels[index], clean
        if index > 0:
            half_ratio = stride / (levels[index] - levels[index - 1]) / 2  # 1 / 2r
            direction = (1 + half_ratio) * clean - half_ratio * earlier
        shrinking = ((1 - bars[index + 1]) / (1 - bars[index])) ** 0.5
        images = shrinking * images - bars[index + 1] ** 0.5 * expm1(-stride) * direction
        earlier = clean
    return _clean(images, predict(images, torch.tensor(steps[-1])), bars[-1], bound)


def _bars(variances: NDArray[np.float64]) -> Tensor:
    """ᾱ_t in float32 throughout, as diffusers' schedulers have it.  (T,)"""
    return torch.cumprod(1 - torch.tensor(variances, dtype=torch.float32), dim=0)


def _clean(images: Tensor, predicted: Tensor, bar: Tensor | float, bound: float) -> Tensor:
    """The clean image that a prediction of the noise implies, clipped (Ho et al. 2020, Eq. 15).  2 × (n,C,R,R), ()"""
    return ((images - (1 - bar) ** 0.5 * predicted) / bar**0.5).clamp(-bound, bound)
