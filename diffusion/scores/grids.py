"""Grids of images to look at; how the images are drawn stands in `diffusion.samplers`."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion.data.pictures import Values
from diffusion.files.writing import whole

SHOWN_DEVIATIONS = 3.0  # of latents, scaled to a deviation of one
GRID_PIXELS = 512  # a grid is enlarged by whole factors to about this width


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


def as_picture(latents: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Latents in false colours: up to three channels, three deviations either way.  (N, C, H, W) → (N, 1 or 3, H, W)"""
    shown = latents[:, :3] if latents.shape[1] >= 3 else latents[:, :1]
    return np.asarray((shown.clip(-SHOWN_DEVIATIONS, SHOWN_DEVIATIONS) / SHOWN_DEVIATIONS + 1) * 127.5, dtype=np.uint8)


def save_grid(images: Values, path: Path) -> None:
    """Write a grid as PNG, whole or not at all."""
    with whole(path) as part:
        image_grid(images if images.dtype == np.uint8 else as_picture(images)).save(part, format="PNG")
