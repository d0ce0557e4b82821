"""Image data as every training and every score reads it: plain ``.npy`` files, prepared once and named by content.

`prepare_images` turns the word that a user typed into ``FOLDER/FINGERPRINT/{train,test}.npy`` (uint8, N×C×H×W) and
``card.json``; `open_images` maps them into memory. Latents are float32 and are kept as they come. All images of a set
are held in memory once, while they are being prepared. Where images come from stands in `diffusion.data.sources`. No
augmentation here, no torch, no pickle.
"""

import hashlib
import os
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffusion.data.card import LARGEST_SIDE, SIDE_MULTIPLE, DataCard
from diffusion.data.pictures import (
    SMALLEST_SIDE,
    TOO_SMALL,
    Pixels,
    Source,
    Values,
    change_notes,
    changes_of_fit,
    fit,
)
from diffusion.data.sources import find_source
from diffusion.errors import UserError
from diffusion.files.writing import whole
from diffusion.under_way import each, under_way

HASH_BYTES = 16  # two of 10^6 different images agree with a probability of 10^-27


@dataclass(frozen=True)
class Images:
    """A prepared data set, memory-mapped and read-only."""

    card: DataCard
    train: Values  # (N, C, H, W) uint8, or float32 where they are latents
    test: Values | None  # (M, C, H, W)


def prepare_images(
    dataset: str, folder: Path, *, data_dir: Path = Path("data"), resolution: int | None = None
) -> DataCard:
    """Load a data set by its word and keep it under ``folder/FINGERPRINT``, unless it is there already.

    Args:
        dataset: ``digits``, ``cifar10``, a path to an .npz file, a folder of images, or a Hugging Face id.
        folder: where prepared data sets are kept.
        data_dir: where ``cifar10.npz`` is looked for before Hugging Face is asked.
        resolution: resize the shorter side to this and crop the centre; without it images must be square, of one size.

    Raises:
        UserError: one sentence that starts with what was typed.
    """
    _check_resolution(resolution)
    with under_way("reading the data"):
        source = find_source(dataset, data_dir, resolution)
    count = len(source.train)
    if count < 2:
        raise UserError(f"'{dataset}' holds {count or 'no'} training image{'s' * (count != 1)}; at least 2 are needed")
    with under_way("preparing the data"):
        return _kept(dataset, source, folder, resolution)


def _kept(dataset: str, source: Source, folder: Path, resolution: int | None) -> DataCard:
    """The card of a source whose images, as they are to be, are in the folder now."""
    train, test, notes = _prepared(dataset, source, resolution)
    card = DataCard(
        name=dataset,
        resolution=train.shape[2],
        channels=train.shape[1],
        train_count=len(train),
        test_count=0 if test is None else len(test),
        fingerprint=fingerprint_of(train, test),
        notes=notes,
        values=None if source.values == "pixels" else source.values,
    )
    card = _measured(card, train, test)
    target = folder / card.fingerprint
    if (target / "card.json").exists():
        _complete_card(target, card)
    else:
        _write(target, card, train, test)
    return card


def open_images(folder: Path, fingerprint: str) -> Images:
    """Map the data set that `prepare_images` kept under ``folder/fingerprint``."""
    home = folder / fingerprint
    if not (home / "card.json").exists():
        raise UserError(f"'{home}' holds no prepared images; prepare the data set again")
    card = _read_card(home)
    size = (card.channels, card.resolution, card.resolution)
    kind = np.dtype(np.float32 if card.values else np.uint8)
    test = _map(home / "test.npy", (card.test_count, *size), kind) if card.test_count else None
    return Images(card, _map(home / "train.npy", (card.train_count, *size), kind), test)


def _prepared(
    dataset: str, source: Source, resolution: int | None
) -> tuple[Values, Values | None, tuple[str, ...]]:  # (N, C, R, R), (M, C, R, R)
    """The splits of a source as they are kept, and what is to be said of them."""
    if source.values == "latents":
        if resolution not in (None, source.train.shape[2]):
            side = source.train.shape[2]
            raise UserError(
                f"--resolution {resolution}: '{dataset}' holds latents of {side}×{side}, which are not resized; "
                "leave it out"
            )
        return source.train, source.test, source.notes
    height, width = source.train.shape[1:3]
    if min(height, width) < SMALLEST_SIDE:
        raise UserError(f"'{dataset}' has images of {width}×{height}, {TOO_SMALL}; give larger ones")
    source = _padded(dataset, source if resolution is None else _fitted(source, resolution))
    test = None if source.test is None else _channels_first(source.test)
    return _channels_first(source.train), test, source.notes


def fingerprint_of(train: Values, test: Values | None) -> str:
    """First 12 hex digits of the SHA-256 over type, shape and bytes of both splits."""
    sha = hashlib.sha256()
    for split in (train, test):
        if split is not None:
            sha.update(f"{split.dtype.str}{split.shape}".encode())
            sha.update(np.ascontiguousarray(split).data)
        sha.update(b"\0")
    return sha.hexdigest()[:12]


def _measured(card: DataCard, train: Values, test: Values | None) -> DataCard:
    """The card with its mean and its duplicates, and a note if there is but one image."""
    exact, whole = (np.float64, 1) if card.values else (np.uint64, 255)
    sums = train.sum(axis=(0, 2, 3), dtype=exact)  # (C,)
    train_hashes = _hashes(train)
    distinct = set(train_hashes)
    one_image = (f"all {len(train):,} training images are equal",) if len(distinct) == 1 else ()
    return card.model_copy(
        update={
            "notes": (*card.notes, *one_image),
            "mean": tuple((sums / (whole * train[:, 0].size)).tolist()),
            "train_duplicates": len(train) - len(distinct),
            "shared_images": None if test is None else sum(image in distinct for image in _hashes(test)),
        }
    )


def _hashes(images: Values) -> list[bytes]:
    """One hash an image of (N, C, H, W)."""
    whole = np.ascontiguousarray(images)
    found = each("looking for duplicates", whole, len(whole))
    return [hashlib.blake2b(image, digest_size=HASH_BYTES).digest() for image in found]


def _check_resolution(resolution: int | None) -> None:
    if resolution is None:
        return
    if resolution % SIDE_MULTIPLE or not SIDE_MULTIPLE <= resolution <= LARGEST_SIDE:
        raise UserError(f"'--resolution {resolution}' is not a multiple of {SIDE_MULTIPLE} from 8 to {LARGEST_SIDE}")


def _fitted(source: Source, resolution: int) -> Source:
    """The images of a source that gave arrays, resized and cropped as pictures are when they are read."""
    height, width = source.train.shape[1:3]
    if (height, width) == (resolution, resolution):
        return source
    test = None if source.test is None else _fit_all(source.test, resolution)
    count = len(source.train) + (0 if source.test is None else len(source.test))
    notes = change_notes(dict.fromkeys(changes_of_fit((width, height), resolution), count), resolution)
    return Source(_fit_all(source.train, resolution), test, (*source.notes, *notes))


def _fit_all(images: Pixels, resolution: int) -> Pixels:
    """(N, H, W[, C]) → (N, resolution, resolution[, C])."""
    from PIL import Image

    flat = images[..., 0] if images.shape[3:] == (1,) else images
    fitted = (fit(Image.fromarray(image), resolution) for image in each("resizing images", flat, len(flat)))
    return np.stack([np.asarray(image, np.uint8) for image in fitted])


def _padded(dataset: str, source: Source) -> Source:
    """Square images whose side the UNet can halve three times, by repeating the edge on all four sides."""
    height, width = source.train.shape[1:3]
    if height != width:
        raise UserError(
            f"'{dataset}' has images of {width}×{height}, not square; give --resolution N to crop and resize"
        )
    side = -(-height // SIDE_MULTIPLE) * SIDE_MULTIPLE
    if side > LARGEST_SIDE:
        raise UserError(f"'{dataset}' has images of {width}×{height}; give --resolution N, at most {LARGEST_SIDE}")
    if side == height:
        return source
    note = f"padded from {height}×{height} to {side}×{side} by repeating the edge"
    test = None if source.test is None else _pad(source.test, side)
    return Source(_pad(source.train, side), test, (*source.notes, note))


def _pad(images: Pixels, side: int) -> Pixels:
    """(N, H, H[, C]) → (N, side, side[, C])."""
    missing = side - images.shape[1]
    both = (missing // 2, missing - missing // 2)
    return np.pad(images, [(0, 0), both, both, (0, 0)][: images.ndim], mode="edge")


def _channels_first(images: Pixels) -> Pixels:
    """(N, H, W[, C]) → (N, C, H, W)."""
    return np.ascontiguousarray(images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2))


def _write(target: Path, card: DataCard, train: Values, test: Values | None) -> None:
    """The whole folder at once: whoever sees it sees it complete, also after a crash."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{card.fingerprint}-{os.getpid()}-{threading.get_ident()}"
        shutil.rmtree(temporary, ignore_errors=True)  # of a process of this number that was killed
        temporary.mkdir()
    except OSError as error:
        raise UserError(f"'{target.parent}' cannot be written ({error.strerror}); choose another folder") from None
    try:
        for name, split in (("train.npy", train), ("test.npy", test)):
            if split is not None:
                _save(temporary / name, split)
        _save(temporary / "card.json", card.model_dump_json(indent=2))
        _move(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _save(path: Path, content: Values | str) -> None:
    with path.open("wb") as file:
        if isinstance(content, str):
            file.write(content.encode())
        else:
            np.save(file, content, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def _move(temporary: Path, target: Path) -> None:
    """Rename; another process that prepared the same data first has won, and its copy is as good."""
    _sync_folder(temporary)
    try:
        os.replace(temporary, target)
    except OSError:
        if not (target / "card.json").exists():
            raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_card(home: Path) -> DataCard:
    try:
        return DataCard.model_validate_json((home / "card.json").read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"'{home / 'card.json'}' is damaged; delete '{home}' and prepare the data set again") from None


def _complete_card(home: Path, measured: DataCard) -> None:
    """Add to a card of before what it lacks; name and notes stay those of the first preparation."""
    card = _read_card(home)
    if card.mean:
        return
    later = {name: getattr(measured, name) for name in ("mean", "train_duplicates", "shared_images")}
    with (
        suppress(OSError),
        whole(home / "card.json") as part,
    ):  # who may only read keeps the old one
        part.write_text(card.model_copy(update=later).model_dump_json(indent=2), encoding="utf-8")


def _map(path: Path, shape: tuple[int, ...], kind: np.dtype[Any]) -> Values:
    try:
        mapped: Values = np.load(path, mmap_mode="r", allow_pickle=False)
        if mapped.shape != shape or mapped.dtype != kind:
            raise ValueError
    except (OSError, ValueError, EOFError):
        raise UserError(f"'{path}' is damaged; delete '{path.parent}' and prepare the data set again") from None
    return mapped
