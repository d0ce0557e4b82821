"""Images from a trained network: DDIM (Song et al. 2021) through diffusers' scheduler, and grids to look at.

Each image has its own noise stream, a function of (seed, index), so the images do not depend on the batch size.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from diffusion.process import betas, to_pixels
from diffusion.settings import Settings, check_sampling_steps
from diffusion.streams import generator

GRID_PIXELS = 512  # a grid is enlarged by whole factors to about this width


@torch.no_grad()
def ddim_sample(
    model: nn.Module,
    settings: Settings,
    *,
    diffusion_steps: int,
    sampling_steps: int,
    num_images: int,
    seed: int,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    on_progress: Callable[[int], None] = lambda done: None,
) -> NDArray[np.uint8]:
    """`num_images` images in `sampling_steps` deterministic steps (η = 0).  → (num_images, C, R, R)

    Spacing is ``trailing``: diffusers' default ``leading`` never visits the last, noisiest step.

    Raises:
        UserError: `sampling_steps` do not divide `diffusion_steps`.
    """
    check_sampling_steps(diffusion_steps, sampling_steps)
    model = model.to(device)
    batches = []
    for first in range(0, num_images, batch_size):
        indices = range(first, min(first + batch_size, num_images))
        noise = _noise(settings, seed, indices).to(device)  # (n, C, R, R)
        batches.append(to_pixels(_denoise(model, noise, settings, diffusion_steps, sampling_steps)))
        on_progress(indices[-1] + 1)
    return torch.cat(batches).cpu().numpy()


def _noise(settings: Settings, seed: int, indices: range) -> Tensor:
    """The starting noise of the images with these indices.  (n, C, R, R)"""
    shape = (settings.channels, settings.resolution, settings.resolution)
    return torch.stack([torch.randn(shape, generator=generator(seed, "sample", index)) for index in indices])


def _denoise(model: nn.Module, images: Tensor, settings: Settings, diffusion_steps: int, sampling_steps: int) -> Tensor:
    """Noise to images in [-1, 1].  (n, C, R, R)"""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        num_train_timesteps=diffusion_steps,
        trained_betas=betas(settings.schedule, diffusion_steps),
        timestep_spacing="trailing",
        clip_sample=True,
    )
    scheduler.set_timesteps(sampling_steps, device=images.device)
    for step in scheduler.timesteps:
        predicted = model(images, step).sample
        images = scheduler.step(predicted, step, images).prev_sample
    return images


def image_grid(images: NDArray[np.uint8], columns: int = 10) -> Image.Image:
    """Images row by row with a thin line between them, enlarged by a whole factor.  (N, C, H, W)"""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    canvas = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, channels), 64, dtype=np.uint8)  # grey lines
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + 1) + 1, (index % columns) * (width + 1) + 1
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    picture = Image.fromarray(canvas[..., 0] if channels == 1 else canvas[..., :3])
    factor = max(1, round(GRID_PIXELS / picture.width))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def save_grid(images: NDArray[np.uint8], path: Path) -> None:
    """Write a grid as PNG, whole or not at all."""
    part = path.with_suffix(".part.png")
    image_grid(images).save(part)
    part.replace(path)
