"""Where images come from: the embedded digits, ``.npz`` files, folders of pictures, Hugging Face data sets.

Every loader gives a `Source`: uint8 arrays (N, H, W) or (N, H, W, C), one side and one number of channels for all. What
a user typed wrong ends in one sentence. How a picture becomes values stands in `diffusion.data.pictures`, what is asked
of Hugging Face in `diffusion.data.hub`. Nothing is written here, nothing is unpickled, and there is no network.
"""

import os
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffusion.data.hub import load_hugging_face
from diffusion.data.latents import LATENTS, LATENTS_TEST, latents_source
from diffusion.data.pictures import (
    BROKEN_FILE,
    Change,
    Picture,
    Pixels,
    Source,
    change_notes,
    decode,
    first_line,
    looks_like_picture,
)
from diffusion.errors import UserError
from diffusion.files.paths import user_path
from diffusion.under_way import each
from diffusion.units import counted, printable

KINDS = "digits, cifar10, a path to an .npz file, a folder of images, or a Hugging Face id such as owner/name"
HUGGING_FACE_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(:[\w.-]+)?")
CIFAR10_ID = "uoft-cs/cifar10"
DIGITS_TRAIN_COUNT = 1437  # of 1797: four fifths; the other 360 are held out (DESIGN.md, "Scores")
NAMES = ((LATENTS, LATENTS_TEST), ("x_train", "x_test"))  # arrays of an .npz that matter; others are not read
TRAIN_FOLDER = "train"
TEST_FOLDERS = ("test", "validation", "valid", "val")
"""What the folder of held-out pictures may be called; the first that exists is taken."""


def find_source(dataset: str, data_dir: Path, resolution: int | None) -> Source:
    """The images that a data set's word stands for; pictures of a folder or a hub are resized to `resolution`.

    Raises:
        UserError: there is no such data set, or it cannot be read; the sentence says what would be right.
    """
    if dataset == "digits":
        return load_digits()
    if dataset == "cifar10":
        return load_cifar10(data_dir / "cifar10.npz", resolution)
    path = _local_path(dataset)
    if path is not None and path.is_dir():
        return load_folder(dataset, path, resolution)
    if path is not None and path.suffix.lower() == ".npz":
        return load_npz(dataset, path)
    if path is not None and path.is_file():
        raise UserError(f"'{dataset}' is a file but no data set; give {KINDS}")
    if HUGGING_FACE_ID.fullmatch(dataset):
        return load_hugging_face(dataset, dataset, resolution, instead=f"give {KINDS}")
    raise UserError(f"'{dataset}' is no data set; give {KINDS}")


def _local_path(typed: str) -> Path | None:
    """The path that a word may be; None for a word that can be no path, such as one too long for a file's name."""
    try:
        path = user_path(typed)
        path.stat()
    except FileNotFoundError:
        return path
    except (OSError, ValueError):  # too long, not allowed, a zero byte
        return None
    return path if typed else None


def load_digits() -> Source:
    """Scikit-learn's 1,797 handwritten digits, 0..16 scaled to 0..255; 1,437 for training, 360 held out by seed 0."""
    from sklearn.datasets import load_digits as load

    digits = load().images  # (1797, 8, 8)
    images = np.rint(digits * 255 / 16).astype(np.uint8)
    order = np.random.RandomState(0).permutation(len(images))
    return Source(images[order[:DIGITS_TRAIN_COUNT]], images[order[DIGITS_TRAIN_COUNT:]])


def load_cifar10(local: Path, resolution: int | None) -> Source:
    """CIFAR-10 from the file `local` if it exists, else from Hugging Face."""
    if local.exists():
        return load_npz(str(local), local)
    arrays = "numpy.savez with x_train, uint8 (50000, 32, 32, 3), and x_test; labels are not needed"
    return load_hugging_face("cifar10", CIFAR10_ID, resolution, instead=f"put the images at {local} ({arrays})")


def load_npz(typed: str, path: Path) -> Source:
    """``x_train`` (and ``x_test``), or the one array that the file holds; or ``latents`` (and ``latents_test``)."""
    if not path.is_file():
        raise UserError(f"'{typed}' does not exist; give {KINDS}")
    arrays = _read_npz(typed, path)
    if LATENTS in arrays:
        return latents_source(typed, arrays)
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
            known = next((names for names in NAMES if names[0] in archive.files), archive.files)
            return {name: _array(archive, name) for name in known if name in archive.files}
    except (*BROKEN_FILE, zipfile.BadZipFile, KeyError, TypeError, AttributeError, MemoryError) as error:
        if "pickle" in str(error) and zipfile.is_zipfile(path):
            raise UserError(f"'{typed}' holds pickled objects, which are refused; save plain uint8 arrays") from None
        why = first_line(error) if zipfile.is_zipfile(path) else "it is not a zip archive, or is cut short"
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
    splits = [train] if test is None else [train, test]
    transparent = sum(int((split[..., 3].min(axis=(1, 2)) < 255).sum()) for split in splits if len(split))
    notes = change_notes({Change.WHITENED: transparent}, None)
    return Source(_on_white(train), None if test is None else _on_white(test), notes)


def _on_white(images: Pixels) -> Pixels:
    """(N, H, W, 4) → (N, H, W, 3)."""
    alpha = images[..., 3:].astype(np.uint32)
    # the halves round to nearest: 127 of 255
    return ((images[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


class Contents(NamedTuple):
    """The visible files of a folder, sorted, relative to it."""

    pictures: list[PurePosixPath]
    others: list[PurePosixPath]


class Splits(NamedTuple):
    """The pictures of a folder by what they are for; `outside` are for nothing."""

    train: list[PurePosixPath]
    test: list[PurePosixPath]
    outside: list[PurePosixPath]


def load_folder(typed: str, folder: Path, resolution: int | None) -> Source:
    """Every picture below a folder, sorted by path; ``train/`` and ``test/`` are splits if there is a ``train/``.

    Raises:
        UserError: the folder holds no pictures or cannot be read, or a picture is unfit.
    """
    contents = _contents(typed, folder)
    if not contents.pictures:
        raise UserError(f"'{typed}' {_nothing_but(contents.others)}; put at least 2 images into it")
    train, test, outside = _split(folder, contents.pictures)
    if not train:
        raise UserError(f"'{typed}' holds no images in its folder {TRAIN_FOLDER}; put at least 2 images into it")
    source = decode(typed, _pictures(folder, train), _pictures(folder, test), resolution)
    notes = [*source.notes]
    if outside:
        notes.append(f"{counted(len(outside), 'image')} outside the splits left out, such as {_shown(outside[0])}")
    if contents.others:
        others = counted(len(contents.others), "other file")
        notes.append(f"{others} left out, such as {_shown(contents.others[0])}")
    return Source(source.train, source.test, tuple(notes))


def _nothing_but(others: list[PurePosixPath]) -> str:
    """What a folder without pictures is."""
    if not others:
        return "is an empty folder"
    return f"holds no images, only {counted(len(others), 'file')} of another kind such as {_shown(others[0])}"


def _contents(typed: str, folder: Path) -> Contents:
    """What lies below a folder, without hidden files; what is no file in the end (a dead link) is no picture."""
    contents = Contents([], [])
    try:
        for name in each("looking at files", names := _files_below(folder), len(names)):
            file = folder / name
            is_picture = file.is_file() and looks_like_picture(file)
            (contents.pictures if is_picture else contents.others).append(name)
    except OSError as error:
        where = printable(str(error.filename))
        raise UserError(f"'{typed}' cannot be read ({error.strerror}: {where}); allow it or move it") from None
    return contents


def _files_below(folder: Path) -> list[PurePosixPath]:
    """The visible files below a folder; links to folders are followed, each folder once."""
    seen: set[str] = set()
    found = []

    def fail(error: OSError) -> None:
        raise error

    for home, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        if os.path.realpath(home) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(home))
        folders[:] = sorted(name for name in folders if _is_visible(name))
        found += [PurePosixPath(os.path.relpath(home, folder), name) for name in files if _is_visible(name)]
    return sorted(found)


def _is_visible(name: str) -> bool:
    return not name.startswith((".", "__MACOSX"))


def _split(folder: Path, names: list[PurePosixPath]) -> Splits:
    """All are for training in a folder without a ``train/``; ``Train/`` is one as well."""
    tops = {child.name.lower() for child in folder.iterdir() if child.is_dir()}
    if TRAIN_FOLDER not in tops:
        return Splits(names, [], [])
    test_top = next((top for top in TEST_FOLDERS if top in tops), None)
    splits = Splits([], [], [])
    for name in names:
        top = name.parts[0].lower() if len(name.parts) > 1 else ""
        (splits.train if top == TRAIN_FOLDER else splits.test if top == test_top else splits.outside).append(name)
    return splits


def _pictures(folder: Path, names: list[PurePosixPath]) -> list[Picture]:
    return [Picture(_shown(name), folder / name) for name in names]


def _shown(name: PurePosixPath) -> str:
    return printable(str(name))
