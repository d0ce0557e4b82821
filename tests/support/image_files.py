"""Small image data sets on disk, and what becomes of them: prepared, or refused in one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diffusion.data.images import Images, open_images, prepare_images
from diffusion.errors import UserError

RNG = np.random.default_rng(0)


def noise(*shape: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def save_npz(folder: Path, **arrays: Any) -> str:
    path = folder / "images.npz"
    np.savez(path, **arrays)
    return str(path)


def save_pictures(folder: Path, *names: str, shape: tuple[int, ...] = (8, 8, 3)) -> str:
    """Pictures of noise, each other pixels."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(*shape)).save(path)
    return str(folder)


def prepared(dataset: str, folder: Path, **options: Any) -> Images:
    card = prepare_images(dataset, folder, **options)
    return open_images(folder, card.fingerprint)


def refusal(dataset: str, folder: Path, **options: Any) -> str:
    """The sentence; it starts with what was typed and is one line, and nothing was written."""
    with pytest.raises(UserError) as caught:
        prepare_images(dataset, folder, **options)
    text = str(caught.value)
    assert text.isprintable() and not folder.exists()
    assert text.startswith(("'--resolution", f"'{dataset}'"))
    return text
