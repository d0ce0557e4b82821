"""Where images come from: the embedded digits, ``.npz`` files, folders of pictures, Hugging Face data sets.

Every loader gives a `Source`: uint8 arrays (N, H, W) or (N, H, W, C), one side and one number of channels for all. What
a user typed wrong ends in one sentence. Nothing is written here, nothing is unpickled, and the network is used for a
Hugging Face id alone.
"""

import io
import logging
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffusion.errors import UserError

Pixels = NDArray[np.uint8]

KINDS = "digits, cifar10, a path to an .npz file, a folder of images, or a Hugging Face id such as owner/name"
HUGGING_FACE_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
CIFAR10_ID = "uoft-cs/cifar10"
DIGITS_TRAIN_COUNT = 1437  # of 1797: four fifths; the other 360 are held out (DESIGN.md, "Scores")
TEST_SPLITS = ("test", "validation")
BROKEN_FILE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
"""What Pillow's and numpy's readers raise over damaged bytes."""


@dataclass(frozen=True)
class Source:
    """A data set as it was found, before padding. `test` is None without such a split."""

    train: Pixels  # (N, H, W) or (N, H, W, C)
    test: Pixels | None
    notes: tuple[str, ...] = ()


class Picture(NamedTuple):
    """A picture not yet read: its name in messages, and what Pillow can open."""

    name: str
    file: Path | bytes


class Decoded(NamedTuple):
    """A picture as values: (H, W) when grey, (H, W, 3) otherwise."""

    name: str
    pixels: Pixels
    had_alpha: bool
    was_resized: bool

    @property
    def size(self) -> str:
        """Width×height, as people read it."""
        return f"{self.pixels.shape[1]}×{self.pixels.shape[0]}"


def find_source(dataset: str, data_dir: Path, resolution: int | None) -> Source:
    """The images that a data set's word stands for; pictures of a folder or a hub are resized to `resolution`.

    Raises:
        UserError: there is no such data set, or it cannot be read; the sentence says what would be right.
    """
    path = Path(dataset).expanduser()
    if dataset == "digits":
        return load_digits()
    if dataset == "cifar10":
        local = data_dir / "cifar10.npz"
        if local.exists():
            return load_npz(str(local), local)
        return load_hugging_face(dataset, CIFAR10_ID, resolution, instead=f"put the images at {local}")
    if path.suffix == ".npz":
        return load_npz(dataset, path)
    if dataset and path.is_dir():
        return load_folder(dataset, path, resolution)
    if path.is_file():
        raise UserError(f"'{dataset}' is a file but no data set; give {KINDS}")
    if HUGGING_FACE_ID.fullmatch(dataset):
        return load_hugging_face(dataset, dataset, resolution)
    raise UserError(f"'{dataset}' is no data set; give {KINDS}")


def load_digits() -> Source:
    """Scikit-learn's 1,797 handwritten digits, 0..16 scaled to 0..255; 1,437 for training, 360 held out by seed 0."""
    from sklearn.datasets import load_digits as load

    digits = load().images  # (1797, 8, 8)
    images = np.rint(digits * 255 / 16).astype(np.uint8)
    order = np.random.RandomState(0).permutation(len(images))
    return Source(images[order[:DIGITS_TRAIN_COUNT]], images[order[DIGITS_TRAIN_COUNT:]])


def load_npz(typed: str, path: Path) -> Source:
    """``x_train`` (and ``x_test``), or the one array that the file holds."""
    if not path.is_file():
        raise UserError(f"'{typed}' does not exist; give {KINDS}")
    arrays = _read_npz(typed, path)
    if "x_train" not in arrays and len(arrays) != 1:
        found = ", ".join(arrays) or "nothing"
        raise UserError(f"'{typed}' holds {found}; it must hold x_train (and x_test) or a single array")
    train_name = "x_train" if "x_train" in arrays else next(iter(arrays))
    train = _checked(typed, train_name, arrays[train_name])
    if train_name == "x_test" or "x_test" not in arrays or len(arrays["x_test"]) == 0:
        return _without_alpha(train, None)
    test = _checked(typed, "x_test", arrays["x_test"])
    if train.shape[1:] != test.shape[1:]:
        raise UserError(f"'{typed}' holds x_train {train.shape} and x_test {test.shape}; images must have one shape")
    return _without_alpha(train, test)


def _read_npz(typed: str, path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of the file that matter; pickled objects are refused."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = [name for name in ("x_train", "x_test") if name in archive.files]
            return {name: _array(archive, name) for name in (names if "x_train" in names else archive.files)}
    except (*BROKEN_FILE, zipfile.BadZipFile, KeyError, TypeError, AttributeError, MemoryError) as error:
        if "pickle" in str(error) and zipfile.is_zipfile(path):
            raise UserError(f"'{typed}' holds pickled objects, which are refused; save plain uint8 arrays") from None
        why = _first_line(error) if zipfile.is_zipfile(path) else "it is not a zip archive, or is cut short"
        raise UserError(f"'{typed}' cannot be read as an .npz file ({why}); write it again") from None


def _array(archive: Any, name: str) -> NDArray[Any]:
    """One member; numpy hands out the raw bytes of whatever does not begin like an array."""
    array = archive[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is no array")
    return array


def _checked(typed: str, name: str, array: NDArray[Any]) -> Pixels:
    """The array, if it is uint8 of shape N×H×W or N×H×W×C."""
    if array.dtype != np.uint8:
        raise UserError(f"'{typed}' holds {name} of type {array.dtype}; images must be uint8, 0 to 255")
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3, 4)) or 0 in array.shape[1:]:
        raise UserError(f"'{typed}' holds {name} of shape {array.shape}; it must be N×H×W or N×H×W×C, C 1, 3 or 4")
    return array


def _without_alpha(train: Pixels, test: Pixels | None) -> Source:
    """The arrays with a fourth channel, if there is one, composited on white."""
    if train.ndim == 3 or train.shape[3] != 4:
        return Source(train, test)
    return Source(_on_white(train), None if test is None else _on_white(test), (ALPHA_NOTE,))


def _on_white(images: Pixels) -> Pixels:
    """(N, H, W, 4) → (N, H, W, 3)."""
    alpha = images[..., 3:].astype(np.uint32)
    # the halves round to nearest: 127 of 255
    return ((images[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


ALPHA_NOTE = "transparent pixels composited on white"


def load_folder(typed: str, folder: Path, resolution: int | None) -> Source:
    """Every picture below a folder, sorted by path; ``train/`` and ``test/`` are splits if there is a ``train/``."""
    ignored: list[str] = []
    if not (folder / "train").is_dir():
        return _decode(typed, _pictures(folder, folder, ignored), [], ignored, resolution)
    train = _pictures(folder, folder / "train", ignored)
    test = _pictures(folder, folder / "test", ignored) if (folder / "test").is_dir() else []
    return _decode(typed, train, test, ignored, resolution)


def _pictures(root: Path, folder: Path, ignored: list[str]) -> list[Picture]:
    """The pictures below `folder`, named relative to `root`; files of another kind are added to `ignored`."""
    names = sorted(PurePosixPath(path.relative_to(root)) for path in folder.rglob("*") if path.is_file())
    visible = [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in name.parts)]
    pictures = []
    for name in visible:
        if _looks_like_picture(root / name):
            pictures.append(Picture(str(name), root / name))
        else:
            ignored.append(str(name))
    return pictures


def _looks_like_picture(path: Path) -> bool:
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


def load_hugging_face(typed: str, identifier: str, resolution: int | None, instead: str = f"give {KINDS}") -> Source:
    """The ``train`` and the ``test`` or ``validation`` split of a data set on the Hugging Face hub or in its cache."""
    splits = _hugging_face_splits(typed, identifier, instead)
    train_name = "train" if "train" in splits else next(iter(splits))
    test_name = next((name for name in TEST_SPLITS if name in splits and name != train_name), None)
    column = _image_column(typed, splits[train_name])
    train = _hub_pictures(typed, train_name, splits[train_name], column)
    test = _hub_pictures(typed, test_name, splits[test_name], column) if test_name else []
    return _decode(typed, train, test, [], resolution)


def _hugging_face_splits(typed: str, identifier: str, instead: str) -> Any:
    """A `datasets.DatasetDict`, with "no network" and "no such data set" told apart."""
    import httpx
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    try:
        with _hub_is_quiet():
            return load_dataset(identifier)
    except DatasetNotFoundError as error:
        reason = _first_line(error)
        raise UserError(f"'{typed}' names no data set on Hugging Face ({reason}); {instead}") from None
    except (OSError, httpx.HTTPError, DatasetsError, RuntimeError, ValueError) as error:
        if _is_network_failure(error):
            raise UserError(
                f"'{typed}' is not in the local Hugging Face cache and there is no network to load it over; "
                f"connect, or {instead}"
            ) from None
        raise UserError(f"'{typed}' cannot be loaded from Hugging Face: {_first_line(error)}") from None


@contextmanager
def _hub_is_quiet() -> Iterator[None]:
    """No line for each of the hub client's retries: what came of them is said in one sentence."""
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(level)


def _is_network_failure(error: Exception) -> bool:
    """Whether the hub could not be reached; `datasets` reports some of these as a missing file."""
    import httpx

    unreachable = (ConnectionError, TimeoutError, httpx.TransportError)
    return isinstance(error, unreachable) or "LocalEntryNotFound" in str(error)


def _image_column(typed: str, split: Any) -> str:
    from datasets import Image

    for name, feature in split.features.items():
        if isinstance(feature, Image):
            return str(name)
    columns = ", ".join(split.features)
    raise UserError(f"'{typed}' has no column of images, only {columns}; choose a data set of images")


def _hub_pictures(typed: str, split_name: str, split: Any, column: str) -> Iterable[Picture]:
    """The encoded pictures of one split."""
    from datasets import Image

    encoded = split.select_columns([column]).cast_column(column, Image(decode=False))
    for index, row in enumerate(encoded):
        entry, name = row[column], f"{split_name}[{index}]"
        if entry is None:
            raise UserError(f"'{typed}': {name} holds no image; choose a data set without gaps")
        yield Picture(name, Path(entry["path"]) if entry["bytes"] is None else entry["bytes"])


def _decode(
    typed: str, train: Iterable[Picture], test: Iterable[Picture], ignored: list[str], resolution: int | None
) -> Source:
    """Read all pictures; one side for all, and colour for all unless every one is grey."""
    train_images, test_images = _read_all(typed, train, resolution), _read_all(typed, test, resolution)
    both = train_images + test_images
    if test_images:
        _check_size(typed, both[0], test_images[0])
    grey_count = sum(image.pixels.ndim == 2 for image in both)
    mixed = 0 < grey_count < len(both)
    notes = []
    if any(image.had_alpha for image in both):
        notes.append(ALPHA_NOTE)
    if mixed:
        notes.append(f"{grey_count:,} grey images among colour ones made RGB")
    if any(image.was_resized for image in both):
        notes.append(f"shorter side resized to {resolution} and centre cropped")
    if ignored:
        notes.append(f"{len(ignored):,} files that are no images left out, such as {ignored[0]}")
    return Source(_stack(train_images, mixed), _stack(test_images, mixed) if test_images else None, tuple(notes))


def _stack(images: list[Decoded], as_rgb: bool) -> Pixels:
    """(N, H, W) or (N, H, W, 3)."""
    if not images:
        return np.empty((0, 8, 8), np.uint8)
    return np.stack([_as_rgb(image.pixels) if as_rgb else image.pixels for image in images])


def _as_rgb(pixels: Pixels) -> Pixels:
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def _read_all(typed: str, pictures: Iterable[Picture], resolution: int | None) -> list[Decoded]:
    """The pictures in order; the first that is not square or not of the first one's size ends it."""
    images: list[Decoded] = []
    for picture in pictures:
        images.append(_read_picture(typed, picture, resolution))
        _check_size(typed, images[0], images[-1])
    return images


def _check_size(typed: str, first: Decoded, image: Decoded) -> None:
    if image.pixels.shape[0] != image.pixels.shape[1]:
        raise UserError(f"'{typed}': {image.name} is {image.size}, not square; give --resolution N to crop and resize")
    if image.size != first.size:
        raise UserError(
            f"'{typed}': {first.name} is {first.size} but {image.name} is {image.size}; "
            "give --resolution N to make all one size"
        )


def _read_picture(typed: str, picture: Picture, resolution: int | None) -> Decoded:
    """One picture, upright, 8 bits a channel, grey or RGB."""
    from PIL import Image, ImageOps

    file = io.BytesIO(picture.file) if isinstance(picture.file, bytes) else picture.file
    try:
        with _bombs_are_errors(), Image.open(file) as image:
            upright = ImageOps.exif_transpose(image)
            upright.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(
            f"'{typed}': {picture.name} has more pixels than Pillow reads safely ({Image.MAX_IMAGE_PIXELS:,}); "
            "make it smaller"
        ) from None
    except BROKEN_FILE as error:
        raise UserError(
            f"'{typed}': {picture.name} cannot be read as an image ({_first_line(error)}); repair or remove it"
        ) from None
    if upright.mode in ("I", "F"):
        raise UserError(f"'{typed}': {picture.name} has 32-bit pixels (mode {upright.mode}); save it with 8 bits")
    flat, had_alpha = _flatten(upright)
    fitted = flat if resolution is None else fit(flat, resolution)
    return Decoded(picture.name, np.asarray(fitted, np.uint8), had_alpha, was_resized=fitted is not flat)


def _flatten(image: Any) -> tuple[Any, bool]:
    """A Pillow image as mode L or RGB, and whether it had transparency (composited on white)."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)), False  # halves round to nearest
    has_alpha = image.has_transparency_data
    mode = "L" if image.mode in ("L", "1", "LA", "La") else "RGB"
    if not has_alpha:
        return image.convert(mode), False
    coloured = image.convert("RGBA")
    white = Image.new("RGBA", coloured.size, "white")
    return Image.alpha_composite(white, coloured).convert(mode), True


def fit(image: Any, resolution: int) -> Any:
    """A Pillow image, its shorter side resized with antialiasing and its centre cropped; the same object if it fits."""
    from PIL import Image, ImageOps

    if image.size == (resolution, resolution):
        return image
    return ImageOps.fit(image, (resolution, resolution), Image.Resampling.LANCZOS)


@contextmanager
def _bombs_are_errors() -> Iterator[None]:
    """Pillow only warns about pictures of 90 to 180 million pixels; here both are refused."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _first_line(error: BaseException) -> str:
    """The error's first line without its full stop, for the middle of a sentence."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")
