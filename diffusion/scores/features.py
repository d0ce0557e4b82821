"""The feature networks as torch-fidelity runs them: `digits-cnn`, `efficientnet-lite0`, and the 2015 Inception.

Importing this module registers the first two with torch-fidelity. What a protocol says about a network stands, without
torch, in `diffusion.scores.networks`. Every weights file is compared with its SHA-256 before it is used, and no pickled
code of others is ever run: weights are safetensors, or are first read with ``weights_only=True``.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor
from torch_fidelity.utils import create_feature_extractor

from diffusion.scores.digits_cnn import SIDE, load_digits_cnn
from diffusion.scores.efficientnet import EfficientNetLite0Features
from diffusion.scores.inception import as_file, inception_weights
from diffusion.scores.networks import FEATURE_NETWORKS, LATENT_CELLS, LATENTS, score_network


class DigitsFeatures(FeatureExtractorBase):  # type: ignore[misc]  # torch-fidelity ships no types
    """`DigitsCNN` in torch-fidelity's clothes: uint8 images (N, 3, H, W) → one tensor of features (N, 32), float64.

    In double precision a batch's size does not show in the features; the network is small enough to afford it.
    """

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)
        self.network = load_digits_cnn().double()

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return (FEATURE_NETWORKS["digits-cnn"].layer,)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return FEATURE_NETWORKS["digits-cnn"].layer

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        return torch.zeros(4, 3, SIDE, SIDE, dtype=torch.uint8)

    def forward(self, images: Tensor) -> tuple[Tensor]:  # (N, 3, H, W) uint8 → ((N, 32),)
        return (self.network(images),)


for _name, _extractor in (("digits-cnn", DigitsFeatures), ("efficientnet-lite0", EfficientNetLite0Features)):
    if _name not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(_name, _extractor)


class LatentCells(nn.Module):
    """Latents as their own features, the mean of each cell of each channel: (N, C, H, W) → ((N, 64 C),), float64."""

    def forward(self, latents: Tensor) -> tuple[Tensor]:
        return (adaptive_avg_pool2d(latents.double(), LATENT_CELLS).flatten(1),)


def feature_extractor(name: str, device: str = "cpu", weights: Path | None = None) -> nn.Module:
    """torch-fidelity's extractor of that name on a device: uint8 images (N, 3, H, W) → ((N, F),); or that of latents.

    `weights` says where Inception's official file lies; the other networks have theirs from a package and look at none.

    Raises:
        UserError: no such network, damaged weights, or weights that are neither here nor to be had.
    """
    network = score_network(name)
    if name == LATENTS:
        return LatentCells()
    given = {}
    if name == "inception-v3-compat":
        given = {"feature_extractor_weights_path": as_file(inception_weights(weights))}
    extractor: nn.Module = create_feature_extractor(name, [network.layer], cuda=False, verbose=False, **given)
    return extractor.to(device)
