from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion.scores.grids import image_grid, save_grid


def some_images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8)).astype(np.uint8)


def test_images_stand_row_by_row_where_they_belong() -> None:
    images = np.stack([np.full((1, 8, 8), 10 * index, np.uint8) for index in range(1, 24)])
    images[:, 0, 0, 7] = 255  # the upper right corner of each
    picture = image_grid(images)
    factor = 6  # 91 pixels × 6 is nearest to 512
    assert picture.mode == "L" and picture.size == (91 * factor, 28 * factor)  # 10·9 + 1 by 3·9 + 1
    pixels = np.asarray(picture)[::factor, ::factor]
    for index, image in enumerate(images):
        top, left = 9 * (index // 10) + 1, 9 * (index % 10) + 1
        assert (pixels[top : top + 8, left : left + 8] == image[0]).all()
    assert (pixels[::9] == 64).all() and (pixels[:, ::9] == 64).all()
    assert (pixels[19:27, 28:] == 64).all()  # three images in the last row; the rest is grey


def test_a_grid_is_enlarged_without_blurring() -> None:
    pixels = np.asarray(image_grid(some_images()))
    factor = pixels.shape[1] // 91
    assert (pixels == np.kron(pixels[::factor, ::factor], np.ones((factor, factor), np.uint8))).all()


def test_colours_stay_in_their_channels() -> None:
    red = np.zeros((1, 3, 32, 32), np.uint8)
    red[:, 0] = 200
    picture = image_grid(red, columns=1)
    assert picture.mode == "RGB" and picture.getpixel((picture.width // 2, picture.height // 2)) == (200, 0, 0)


def test_a_wide_grid_is_not_made_smaller() -> None:
    assert image_grid(np.zeros((10, 1, 96, 96), np.uint8)).size == (971, 98)


def test_a_grid_is_saved_whole(tmp_path: Path) -> None:
    images = some_images()
    save_grid(images, tmp_path / "samples.png")
    assert [path.name for path in tmp_path.iterdir()] == ["samples.png"]
    with Image.open(tmp_path / "samples.png") as saved:
        assert (np.asarray(saved) == np.asarray(image_grid(images))).all()
