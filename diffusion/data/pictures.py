"""Pictures as values: upright, 8 bits a channel, grey or RGB, of one size, and in words what was done to them.

`decode` turns the pictures of a folder or of a hub into a `Source`. `fit` is the one place where a size changes: the
shorter side is resized with antialiasing and the centre cropped, so that nothing is stretched. A picture that is
damaged or unfit ends in one sentence with its name. No folder is searched here, and no network is used.
"""

import io
import re
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffusion.data.card import LARGEST_SIDE
from diffusion.errors import UserError
from diffusion.under_way import each
from diffusion.units import counted, printable

Pixels = NDArray[np.uint8]
Values = NDArray[Any]  # uint8 pixels, or float32 latents

SMALLEST_SIDE = 8  # the four stages of a spec halve the side three times
BROKEN_FILE = (OSError, SyntaxError, ValueError, EOFError, IndexError, RuntimeError, struct.error, zlib.error)
"""What Pillow's and numpy's readers raise over damaged bytes."""
SIXTEEN_BITS = re.compile(r"(?<!BGR);16")  # in Pillow's raw modes: I;16B, RGB;16L; but BGR;16 has 16 bits a pixel


@dataclass(frozen=True)
class Source:
    """A data set as it was found, before padding. `test` is None without such a split."""

    train: Values  # (N, H, W) or (N, H, W, C); latents are (N, C, H, W)
    test: Values | None
    notes: tuple[str, ...] = ()
    values: Literal["pixels", "latents"] = "pixels"


class Change(StrEnum):
    """What was done to an image; after a count the value is a note, as in "3 images not square, centre cropped"."""

    WHITENED = "with transparent pixels composited on white"
    NARROWED = "with 16 bits a channel scaled to 8"
    FIRST_FRAME = "of several frames reduced to the first"
    RESIZED = "resized to {size} with antialiasing"
    CROPPED = "not square, centre cropped"
    ENLARGED = "smaller than {size} enlarged"


class Picture(NamedTuple):
    """A picture not yet read: its name in messages, and what Pillow can open."""

    name: str
    file: Path | bytes


class Decoded(NamedTuple):
    """A picture as values, and what was done to it."""

    name: str
    pixels: Pixels  # (H, W) when grey, (H, W, 3) otherwise
    changes: frozenset[Change]

    @property
    def size(self) -> str:
        """Width×height, as people read it."""
        return f"{self.pixels.shape[1]}×{self.pixels.shape[0]}"


def decode(typed: str, train: Iterable[Picture], test: Iterable[Picture], resolution: int | None) -> Source:
    """Read all pictures; one side for all, and colour for all unless every one is grey.

    Raises:
        UserError: a picture is damaged, smaller than `SMALLEST_SIDE`, or of another size than the first.
    """
    train_images = _read_all(typed, train, resolution, None)
    test_images = _read_all(typed, test, resolution, train_images[0] if train_images else None)
    both = train_images + test_images
    grey_count = sum(image.pixels.ndim == 2 for image in both)
    mixed = 0 < grey_count < len(both)
    notes = change_notes(Counter(change for image in both for change in image.changes), resolution)
    if mixed:
        notes += (f"{counted(grey_count, 'grey image')} among colour ones made RGB",)
    return Source(_stack(train_images, mixed), _stack(test_images, mixed) if test_images else None, notes)


def _read_all(typed: str, pictures: Iterable[Picture], resolution: int | None, first: Decoded | None) -> list[Decoded]:
    """The pictures in order; the one that is too large, not square or not of the first one's size ends it."""
    images: list[Decoded] = []
    total = len(pictures) if isinstance(pictures, Sized) else None
    for picture in each("reading pictures", pictures, total):
        image = read_picture(typed, picture, resolution)
        first = first or image
        _check_size(typed, first, image)
        images.append(image)
    return images


def _check_size(typed: str, first: Decoded, image: Decoded) -> None:
    height, width = image.pixels.shape[:2]
    if height != width:
        raise UserError(f"'{typed}': {image.name} is {image.size}, not square; give --resolution N to crop and resize")
    if image.size != first.size:
        raise UserError(
            f"'{typed}': {first.name} is {first.size} but {image.name} is {image.size}; "
            "give --resolution N to make all one size"
        )
    if height > LARGEST_SIDE:  # said of the first picture, not after reading all
        raise UserError(f"'{typed}': {image.name} is {image.size}; give --resolution N, at most {LARGEST_SIDE}")


def _stack(images: list[Decoded], as_rgb: bool) -> Pixels:
    """(N, H, W) or (N, H, W, 3); grey repeated three times where it must be RGB."""
    if not images:
        return np.empty((0, SMALLEST_SIDE, SMALLEST_SIDE), np.uint8)
    shape = images[0].pixels.shape
    stacked = np.empty((len(images), *shape[:2], 3) if as_rgb else (len(images), *shape), np.uint8)
    for index, image in enumerate(images):
        stacked[index] = image.pixels[..., None] if as_rgb and image.pixels.ndim == 2 else image.pixels
    return stacked


def read_picture(typed: str, picture: Picture, resolution: int | None) -> Decoded:
    """One picture, the first frame if it has several: upright, 8 bits a channel, grey or RGB, fitted to `resolution`.

    Raises:
        UserError: it cannot be read, or is smaller than the smallest resolution.
    """
    from PIL import Image, ImageOps

    file = io.BytesIO(picture.file) if isinstance(picture.file, bytes) else picture.file
    try:
        with _bombs_are_errors(), Image.open(file) as image:
            changes = _changes_on_reading(image)
            flat, whitened = _flatten(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(
            f"'{typed}': {picture.name} has more pixels than Pillow reads safely ({Image.MAX_IMAGE_PIXELS:,}); "
            "make it smaller"
        ) from None
    except BROKEN_FILE as error:
        raise UserError(
            f"'{typed}': {picture.name} cannot be read as an image ({first_line(error)}); repair or remove it"
        ) from None
    if min(flat.size) < SMALLEST_SIDE:
        raise UserError(f"'{typed}': {picture.name} is {flat.width}×{flat.height}, {TOO_SMALL}; remove it")
    changes |= {Change.WHITENED} if whitened else set()
    if resolution is not None:
        changes |= changes_of_fit(flat.size, resolution)
        flat = fit(flat, resolution)
    return Decoded(picture.name, np.asarray(flat, np.uint8), frozenset(changes))


TOO_SMALL = f"smaller than the smallest resolution {SMALLEST_SIDE}×{SMALLEST_SIDE}"


def _changes_on_reading(image: Any) -> set[Change]:
    """What reading this opened picture leaves out: frames after the first, bits beyond the eighth."""
    changes = set()
    if getattr(image, "is_animated", False):
        changes.add(Change.FIRST_FRAME)
    if any(SIXTEEN_BITS.search(str(tile.args)) for tile in image.tile):
        changes.add(Change.NARROWED)
    return changes


def _flatten(image: Any) -> tuple[Any, bool]:
    """A Pillow image as mode L or RGB, and whether transparent pixels were composited on white."""
    from PIL import Image

    if image.mode in ("I", "F"):
        raise ValueError(f"32 bits a pixel, mode {image.mode}")
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)), False  # halves round to nearest
    grey = image.mode in ("L", "1", "LA", "La")
    indexed = image.mode in ("P", "PA")
    whitened = False
    if image.has_transparency_data:
        image = image.convert("RGBA")
        whitened = image.getextrema()[3][0] < 255
    if whitened:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if grey else "RGB")
    return (image.convert("L") if indexed and _is_grey(image) else image), whitened


def _is_grey(image: Any) -> bool:
    """Whether the three channels of an RGB image are equal, as in a GIF of a grey picture."""
    pixels = np.asarray(image)  # (H, W, 3)
    return bool((pixels == pixels[..., :1]).all())


def fit(image: Any, side: int) -> Any:
    """A Pillow image, its shorter side resized with antialiasing and its centre cropped; the same object if it fits."""
    from PIL import Image, ImageOps

    if image.size == (side, side):
        return image
    return ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)


def changes_of_fit(size: tuple[int, int], side: int) -> set[Change]:
    """What `fit` does to an image of this width and height."""
    shorter = min(size)
    changes = {Change.RESIZED} if shorter != side else set()
    changes |= {Change.ENLARGED} if shorter < side else set()
    return changes | ({Change.CROPPED} if size[0] != size[1] else set())


def change_notes(counts: Mapping[Change, int], resolution: int | None) -> tuple[str, ...]:
    """A note for each kind of change that occurred, in the order of `Change`."""
    size = f"{resolution}×{resolution}"
    return tuple(
        f"{counted(counts[change], 'image')} {change.format(size=size)}" for change in Change if counts.get(change)
    )


@contextmanager
def _bombs_are_errors() -> Iterator[None]:
    """Pillow only warns about pictures of 90 to 180 million pixels; here both are refused."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def looks_like_picture(path: Path) -> bool:
    """By the suffix, so that a broken picture is not taken for something else; failing that, by the content."""
    from PIL import Image, UnidentifiedImageError

    suffixes = Image.registered_extensions()
    if suffixes.get(path.suffix.lower()) in Image.OPEN:
        return True
    if path.suffix:
        return False
    try:
        with _bombs_are_errors(), Image.open(path):
            return True
    except UnidentifiedImageError:
        return False
    except (*BROKEN_FILE, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return True  # reading it in earnest says what is wrong


def first_line(error: BaseException) -> str:
    """The error's first line without its full stop, for the middle of a sentence."""
    text = str(error).strip() or type(error).__name__
    return printable(text.splitlines()[0].rstrip("."))
