"""What is kept of real images: the statistics of all their features, and the features of up to 10,000 of them.

The names of the files hold all that they depend on: data fingerprint, split, count, network and its weights' hash. A
file appears whole or not at all, and a damaged one is made anew. Each is of use alone: statistics without features give
a Fréchet distance, and only what is missing is computed.
"""

import fcntl
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from diffusion.data.pictures import Values
from diffusion.files.writing import whole
from diffusion.scores.fid import (
    Features,
    OnProgress,
    Statistics,
    extract_features,
    feature_statistics,
    features_of,
    no_progress,
)
from diffusion.scores.fidelity import evenly_spaced
from diffusion.scores.networks import score_network

DAMAGED = (OSError, ValueError, TypeError, KeyError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Reference:
    """One split of a data set under one feature network, and where what is known of it is kept."""

    images: Values  # (N, C, H, W); of cached ones only the number is looked at
    network: str
    cache_folder: Path
    data_fingerprint: str
    split: str
    device: str = "cpu"
    weights: Path | None = None  # where Inception's file lies

    def statistics(self, on_progress: OnProgress = no_progress) -> Statistics:
        """Mean and covariance of the features of all images.

        Raises:
            UserError: fewer than two images, or features that are not to be had.
        """
        kept = _read_statistics(self._path(".npz"))
        if kept is not None:
            return kept
        with _alone(self.cache_folder.parent):  # several scores that begin together need them once
            kept = _read_statistics(self._path(".npz"))
            if kept is None:
                features = self._extract(self.images, on_progress)
                kept = feature_statistics(features)
                _keep(self._features_path, _features_writer(features[self.compared]))
                _keep(self._path(".npz"), _statistics_writer(kept))
        return kept

    def features(self, on_progress: OnProgress = no_progress) -> NDArray[np.float32]:  # (≤ 10,000, F)
        """The features of those images that KID, precision and recall compare.

        Raises:
            UserError: features that are not to be had.
        """
        kept = _read_features(self._features_path, (len(self.compared), features_of(self.network, self.images)))
        if kept is None:
            kept = self._extract(self.images[self.compared], on_progress).astype(np.float32)
            _keep(self._features_path, _features_writer(kept))
        return kept

    def _extract(self, images: Values, on_progress: OnProgress) -> Features:
        return extract_features(images, self.network, device=self.device, weights=self.weights, on_progress=on_progress)

    @property
    def compared(self) -> NDArray[np.int64]:
        """The indices of those images whose features are kept.  (≤ 10,000,)"""
        return evenly_spaced(len(self.images))

    @property
    def _features_path(self) -> Path:
        return self._path(f"-features{len(self.compared)}.npy")

    def _path(self, ending: str) -> Path:
        sha256 = score_network(self.network).sha256
        name = f"{self.data_fingerprint}-{self.split}-{len(self.images)}-{self.network}-{sha256[:12]}"
        return self.cache_folder / (name + ending)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process of a folder at a time; all at once where it is not there, or on a file system that knows no locks."""
    with ExitStack() as stack:
        with suppress(OSError):
            held = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, held)
            fcntl.flock(held, fcntl.LOCK_EX)  # ends with the process, whatever ends that
        yield


def _read_statistics(path: Path) -> Statistics | None:
    """The cached statistics; None when there are none or the file is damaged."""
    with suppress(*DAMAGED), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return Statistics(archive["mu"], archive["sigma"], int(archive["count"]))
    return None


def _read_features(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """The cached features; None when there are none or the file is damaged."""
    with suppress(*DAMAGED), path.open("rb") as file:
        found = np.load(file, allow_pickle=False)
        if found.shape == shape and found.dtype == np.float32:
            return np.asarray(found)
    return None


def _statistics_writer(statistics: Statistics) -> Callable[[IO[Any]], None]:
    return lambda file: np.savez(file, mu=statistics.mu, sigma=statistics.sigma, count=np.int64(statistics.count))


def _features_writer(features: NDArray[Any]) -> Callable[[IO[Any]], None]:
    return lambda file: np.save(file, features.astype(np.float32), allow_pickle=False)


def _keep(path: Path, write: Callable[[IO[Any]], None]) -> None:
    """The whole file at once, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part, part.open("wb") as file:
        write(file)
