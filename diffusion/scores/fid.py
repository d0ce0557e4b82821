"""The Fréchet distance between two sets of images, from torch-fidelity's parts: features, statistics, distance.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule". Images are uint8 (N, C, H, W); grey is repeated to
RGB; latents are float32, and compared as such. Which network and how many images a score was taken with is for the
caller to record: two distances compare only when both are the same (see `diffusion.settings.ScoreProtocol`). What is
kept of real images stands in `diffusion.scores.reference`, what is measured beside the distance in
`diffusion.scores.fidelity`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from diffusion.data.pictures import Values
from diffusion.errors import UserError
from diffusion.scores.features import feature_extractor
from diffusion.scores.networks import LATENTS, score_network

ACCELERATOR_BATCH_SIZE = 256  # 1.4 GB for the largest layer's output of Inception

Features = NDArray[np.float64]
OnProgress = Callable[[int], None]  # is told how many images are done; what it raises ends the work


def no_progress(done: int) -> None:
    """Nobody wants to know how far it is."""


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of the features of `count` images."""

    mu: Features  # (F,)
    sigma: Features  # (F, F)
    count: int


class Extractor:
    """A feature network on a device, which is made when it is first needed.

    Args:
        network: one of `diffusion.scores.networks`.
        device: where it computes.
        weights: where Inception's file lies.
    """

    def __init__(self, network: str, device: str = "cpu", weights: Path | None = None) -> None:
        self.network, self.device, self.weights = network, device, weights

    @cached_property
    def module(self) -> nn.Module:
        """The network; see `diffusion.scores.features.feature_extractor` for what it raises."""
        return feature_extractor(self.network, self.device, self.weights)

    def load(self) -> None:
        """Make the network now, so that what it lacks is said before other work."""
        self.module  # noqa: B018  # made when it is looked at

    @property
    def batch_size(self) -> int:
        """How many images suit the network and the device."""
        return score_network(self.network).cpu_batch_size if self.device == "cpu" else ACCELERATOR_BATCH_SIZE

    def features_of(self, images: Values) -> int:
        """How many features each image has.  (N, C, H, W) → F"""
        return features_of(self.network, images)

    @torch.no_grad()
    def __call__(
        self, images: Values, batch_size: int | None = None, on_progress: OnProgress = no_progress
    ) -> Features:  # (N, C, H, W) → (N, F)
        """The features of images; those of one do not depend on the others.

        Raises:
            UserError: as `diffusion.scores.features.feature_extractor`.
        """
        are_latents = self.network == LATENTS
        if not are_latents and (images.ndim != 4 or images.shape[1] not in (1, 3) or images.dtype != np.uint8):
            raise ValueError(f"images must be uint8 (N, 1 or 3, H, W), not {images.dtype} {images.shape}")
        batch_size = batch_size or self.batch_size
        found = np.empty((len(images), self.features_of(images)))
        with _full_precision(self.device):
            for start in range(0, len(images), batch_size):
                batch = np.array(images[start : start + batch_size])  # a copy: maps are read-only
                seen = torch.from_numpy(batch).to(self.device)
                (features,) = self.module(seen if are_latents else seen.expand(-1, 3, -1, -1))
                found[start : start + len(batch)] = features.double().cpu().numpy()
                on_progress(start + len(batch))
        return found


def extract_features(
    images: Values,
    network: str,
    batch_size: int | None = None,
    device: str = "cpu",
    *,
    weights: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> Features:  # (N, C, H, W) → (N, F)
    """The features of images under a network of `diffusion.scores.networks`; see `Extractor`."""
    return Extractor(network, device, weights)(images, batch_size, on_progress)


def features_of(network: str, images: Values) -> int:
    """How many features a network has of each image.  (N, C, H, W) → F"""
    return score_network(network).num_features * (images.shape[1] if network == LATENTS else 1)


def _full_precision(device: str) -> AbstractContextManager[None]:
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
