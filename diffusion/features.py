"""The feature networks as torch-fidelity runs them: the shipped `digits-cnn`, and the 2015 Inception of plain FID.

Importing this module registers `digits-cnn` with torch-fidelity. What a protocol says about a network stands, without
torch, in `diffusion.networks`. Every weights file is compared with its SHA-256 before it is used, and no pickled code
is ever run: the shipped weights are safetensors, Inception's are first read with ``weights_only=True``.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor
from torch_fidelity.utils import create_feature_extractor

from diffusion.digits_cnn import SIDE, load_digits_cnn
from diffusion.errors import UserError
from diffusion.networks import FEATURE_NETWORKS, file_sha256, score_network

INCEPTION = FEATURE_NETWORKS["inception-v3-compat"]


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


if "digits-cnn" not in FEATURE_EXTRACTORS_REGISTRY:
    register_feature_extractor("digits-cnn", DigitsFeatures)


def feature_extractor(name: str, device: str = "cpu") -> nn.Module:
    """torch-fidelity's extractor of that name on a device: uint8 images (N, 3, H, W) → ((N, F),).

    Raises:
        UserError: no such network, damaged weights, or weights that are neither here nor to be had.
    """
    network = score_network(name)
    weights = {"feature_extractor_weights_path": str(inception_weights())} if network == INCEPTION else {}
    extractor: nn.Module = create_feature_extractor(name, [network.layer], cuda=False, verbose=False, **weights)
    return extractor.to(device)


def inception_weights(path: Path | None = None) -> Path:
    """The official Inception weights: at `path`, else in torch hub's folder, else downloaded into it.

    Raises:
        UserError: the file is not the official one, or it is absent and cannot be downloaded.
    """
    path = path or Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rsplit("/", 1)[1]
    if not path.exists():
        _download_inception(path)
    if file_sha256(path) != INCEPTION.sha256:
        raise UserError(f"'{path}' is not the official Inception of 2015; delete it, so that it is loaded again")
    torch.load(path, map_location="cpu", weights_only=True)  # torch-fidelity itself would run what is pickled there
    return path


def _download_inception(path: Path) -> None:
    """The download of torch hub: into a temporary file that takes its place when the hash is right."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), hash_prefix=INCEPTION.sha256, progress=False)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"'{INCEPTION.name}' needs weights that cannot be downloaded ({error}); put {URL_INCEPTION_V3} at {path}"
        ) from None
