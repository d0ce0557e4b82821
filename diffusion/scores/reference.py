"""What is kept of real images: the statistics of all their features, and the features of up to 10,000 of them.

The names of the files (`diffusion.scores.kept`) hold all that they depend on: data fingerprint, split, count, network
and its weights' hash, by which its input size and its filter are known. A file appears whole or not at all, and a
damaged one is made anew. Each is of use alone: statistics without features give a Fréchet distance, and only what is
missing is computed, in parts (`diffusion.scores.parts`) that several processes share and that outlive a killed one.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from diffusion.data.pictures import Values
from diffusion.files.writing import whole
from diffusion.scores.fid import Extractor, Features, OnProgress, Statistics, feature_statistics, no_progress
from diffusion.scores.fidelity import evenly_spaced
from diffusion.scores.kept import KeptReference
from diffusion.scores.parts import DAMAGED, Parts


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
        path = self._path(".npz")
        parts = self._parts(len(self.images), "", lambda: path.exists() and _read_statistics(path) is not None)
        kept = _read_statistics(path)
        while kept is None:
            features = self._gathered(self.images, parts, on_progress)
            if features is None:
                kept = _read_statistics(path)
                continue
            kept = feature_statistics(features)
            _keep(self._features_path, _features_writer(features[self.compared]))
            _keep(path, _statistics_writer(kept))
        parts.remove()
        return kept

    def features(self, on_progress: OnProgress = no_progress) -> NDArray[np.float32]:  # (≤ 10,000, F)
        """The features of those images that KID, precision and recall compare.

        Raises:
            UserError: features that are not to be had.
        """
        kept = self._read_features()
        if kept is None:
            parts = self._parts(len(self.compared), "-compared", lambda: self._read_features() is not None)
            while kept is None:
                features = self._gathered(self.images[self.compared], parts, on_progress)
                if features is None:
                    kept = self._read_features()
                    continue
                kept = features.astype(np.float32)
                _keep(self._features_path, _features_writer(kept))
            parts.remove()
        return kept

    @property
    def compared(self) -> NDArray[np.int64]:
        """The indices of those images whose features are kept.  (≤ 10,000,)"""
        return evenly_spaced(len(self.images))

    @property
    def kind_of_device(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.device.partition(":")[0]

    @cached_property
    def extractor(self) -> Extractor:
        """What computes what is missing."""
        return Extractor(self.network, self.device, self.weights)

    def _gathered(self, images: Values, parts: Parts, on_progress: OnProgress) -> Features | None:
        """The features of images; None where what is made of them has appeared meanwhile."""
        features = np.empty((len(images), self.extractor.features_of(images)))
        filled = parts.gather(features, lambda part, tell: self.extractor(images[part], on_progress=tell), on_progress)
        return features if filled else None

    def _parts(self, count: int, of: str, is_over: Callable[[], bool]) -> Parts:
        """Where features are gathered; those of another kind of device have other last digits."""
        folder = self._path(f"{of}-{self.kind_of_device}.parts")
        return Parts(folder, count, self.extractor.batch_size, is_over)

    def _read_features(self) -> NDArray[np.float32] | None:
        """The kept features; None when there are none or the file is damaged."""
        path, shape = self._features_path, (len(self.compared), self.extractor.features_of(self.images))
        with suppress(*DAMAGED), path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if found.shape == shape and found.dtype == np.float32:
                return np.asarray(found)
        return None

    @property
    def _features_path(self) -> Path:
        return self._path(f"-features{len(self.compared)}.npy")

    def _path(self, ending: str) -> Path:
        kept = KeptReference(self.cache_folder, self.data_fingerprint, self.split, len(self.images), self.network)
        return kept.path(ending)


def _read_statistics(path: Path) -> Statistics | None:
    """The kept statistics; None when there are none or the file is damaged."""
    with suppress(*DAMAGED), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return Statistics(archive["mu"], archive["sigma"], int(archive["count"]))
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
