"""The Fréchet distance between two sets of images, from torch-fidelity's parts: features, statistics, distance.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule". Images are uint8 (N, C, H, W); grey is repeated to
RGB. Statistics of real images are cached. Which network and how many images a score was taken with is for the caller to
record: two distances compare only when both are the same (see `diffusion.settings.ScoreProtocol`).
"""

import os
import tempfile
import zipfile
import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from diffusion.errors import UserError
from diffusion.features import feature_extractor
from diffusion.networks import score_network

Features = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of the features of `count` images."""

    mu: Features  # (F,)
    sigma: Features  # (F, F)
    count: int


@torch.no_grad()
def extract_features(
    images: NDArray[np.uint8], network: str, batch_size: int = 256, device: str = "cpu"
) -> Features:  # (N, C, H, W) → (N, F)
    """The features of images under a network of `diffusion.networks`."""
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 (N, 1 or 3, H, W), not {images.dtype} {images.shape}")
    extractor = feature_extractor(network, device)
    found = [np.empty((0, score_network(network).num_features))]
    with _full_precision(device):
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(np.array(images[start : start + batch_size])).to(
                device
            )  # a copy: maps are read-only
            (features,) = extractor(batch.expand(-1, 3, -1, -1))
            found.append(features.double().cpu().numpy())
    return np.concatenate(found)


def _full_precision(device: str) -> Any:
    """On CUDA, convolutions without TensorFloat-32, which gives each generation of GPUs other features."""
    if not device.startswith("cuda"):
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def feature_statistics(features: Features) -> Statistics:  # (N, F)
    """Mean and covariance of features.

    Raises:
        UserError: fewer than two images, which have no covariance.
    """
    if len(features) < 2:
        raise UserError(f"'{len(features)}' images are too few for a Fréchet distance; take at least 2")
    found = fid_features_to_statistics(torch.from_numpy(np.asarray(features, np.float64)))
    return Statistics(found["mu"], np.atleast_2d(found["sigma"]), len(features))  # one feature: numpy gives a scalar


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½), by torch-fidelity.

    It takes the eigenvalues of Σ₁Σ₂: nothing for 32 features, some 20 s for Inception's 2,048 on two cores. A formula
    on symmetric matrices is ten times as fast, but the library's figure is the one that others print.
    """
    found = fid_statistics_to_metric({"mu": a.mu, "sigma": a.sigma}, {"mu": b.mu, "sigma": b.sigma}, verbose=False)
    return max(float(found[KEY_METRIC_FID]), 0.0)  # of equal sets it is zero up to rounding, on either side


def reference_statistics(
    images: NDArray[np.uint8],
    network: str,
    cache_folder: Path,
    data_fingerprint: str,
    split: str,
    device: str = "cpu",
) -> Statistics:
    """The statistics of real images, from the cache if they are there; then only the number of images is looked at.

    The file's name holds all that the statistics depend on: data fingerprint, split, count, and the weights' hash.
    """
    weights = score_network(network).sha256
    path = cache_folder / f"{data_fingerprint}-{split}-{len(images)}-{network}-{weights[:12]}.npz"
    cached = _read(path)
    if cached is not None:
        return cached
    statistics = feature_statistics(extract_features(images, network, device=device))
    _write(path, statistics)
    return statistics


def _read(path: Path) -> Statistics | None:
    """The cached statistics; None when there are none or the file is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return Statistics(archive["mu"], archive["sigma"], int(archive["count"]))
    except (OSError, ValueError, TypeError, KeyError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error):
        return None


def _write(path: Path, statistics: Statistics) -> None:
    """The whole file at once, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, mu=statistics.mu, sigma=statistics.sigma, count=np.int64(statistics.count))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
