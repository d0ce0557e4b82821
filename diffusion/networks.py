"""The feature networks that scores are taken with, described without torch: what a `ScoreProtocol` needs to know.

The networks themselves stand in `diffusion.features`.
"""

import hashlib
from functools import cache
from pathlib import Path

from diffusion.errors import UserError
from diffusion.settings import Frozen

DIGITS_CNN_WEIGHTS = Path(__file__).parent / "weights" / "digits-cnn.safetensors"


class FeatureNetwork(Frozen):
    """A feature network as a protocol names it. `sha256` is that of the weights file."""

    name: str
    sha256: str
    input_size: int
    resize_filter: str
    layer: str
    num_features: int


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
        ),
        FeatureNetwork(
            name="inception-v3-compat",
            sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",  # 6726825d: in the file's name
            input_size=299,
            resize_filter="bilinear-tensorflow-1",
            layer="2048",
            num_features=2048,
        ),
    )
}


def score_network(name: str) -> FeatureNetwork:
    """The feature network of that name; the weights that ship are compared with their hash.

    Raises:
        UserError: there is no such network, or its shipped weights file is damaged.
    """
    if name not in FEATURE_NETWORKS:
        raise UserError(f"'{name}' is no feature network; there are {', '.join(FEATURE_NETWORKS)}")
    network = FEATURE_NETWORKS[name]
    if name == "digits-cnn" and (not DIGITS_CNN_WEIGHTS.exists() or file_sha256(DIGITS_CNN_WEIGHTS) != network.sha256):
        raise UserError(f"'{DIGITS_CNN_WEIGHTS}' is not the file that ships with diffnas-agent; install it again")
    return network


def file_sha256(path: Path) -> str:
    """All 64 hex digits of the SHA-256 of a file; a file that has not changed is read once."""
    status = path.stat()
    return _sha256(path, status.st_mtime_ns, status.st_size)


@cache
def _sha256(path: Path, _mtime_ns: int, _size_bytes: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
