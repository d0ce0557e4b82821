"""The weights of the 2015 Inception, found or downloaded once and then kept as safetensors.

torch-fidelity publishes them as a pickled file. It is compared with its SHA-256, read with ``weights_only=True``, and
its tensors are kept in ``$XDG_CACHE_HOME/diffnas-agent`` (``~/.cache`` without that variable); from then on the pickled
file is needed no more. Nothing here runs the network: see `diffusion.scores.features`.
"""

import hashlib
import io
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

from diffusion.errors import UserError
from diffusion.files.writing import whole
from diffusion.scores.networks import FEATURE_NETWORKS, file_sha256
from diffusion.under_way import under_way

INCEPTION = FEATURE_NETWORKS["inception-v3-compat"]


def inception_weights(path: Path | None = None) -> dict[str, Tensor]:
    """The official Inception weights by name: from the converted file, else from `path`, torch hub or its download.

    Raises:
        UserError: a file is not the official one, or there is none and it cannot be downloaded.
    """
    kept = _kept()
    tensors = _read(kept)
    if tensors is None:
        tensors = torch.load(official_file(path), map_location="cpu", weights_only=True)
        with suppress(OSError, SafetensorError):  # nowhere to write: the official file is read again next time
            _write(kept, tensors)
    return tensors


def as_file(tensors: Mapping[str, Tensor]) -> io.BytesIO:
    """The weights as torch-fidelity takes them: a file for ``torch.load``, which holds what this process put there."""
    file = io.BytesIO()
    torch.save(dict(tensors), file)
    file.seek(0)
    return file


def official_file(path: Path | None = None) -> Path:
    """The file that torch-fidelity publishes: at `path`, else in torch hub's folder, else downloaded into it.

    Raises:
        UserError: the file is not the official one, or it is absent and cannot be downloaded.
    """
    if path is not None and not path.is_file():
        raise UserError(f"'{path}' does not exist; name the file that {URL_INCEPTION_V3} gives")
    remedy = "name the right one" if path else "delete it, so that it is loaded again"
    path = path or _in_torch_hub()
    if not path.exists():
        _download(path)
    if file_sha256(path) != INCEPTION.sha256:
        raise UserError(f"'{path}' is not the official Inception of 2015 ({URL_INCEPTION_V3}); {remedy}")
    return path


def is_here(path: Path | None = None) -> bool:
    """Whether nothing would be downloaded: the weights are kept, or their file lies at `path` or in torch hub."""
    return path is not None or _kept().exists() or _in_torch_hub().exists()


def cache_folder() -> Path:
    """Where converted weights are kept: ``diffnas-agent`` in the user's cache folder (XDG base directories)."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "diffnas-agent"


def _kept() -> Path:
    return cache_folder() / f"{INCEPTION.name}-{INCEPTION.sha256[:12]}.safetensors"


def _in_torch_hub() -> Path:
    name: str = URL_INCEPTION_V3.rsplit("/", 1)[1]
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def _download(path: Path) -> None:
    """The download of torch hub: into a temporary file that takes its place when the hash is right."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with under_way("downloading the Inception of 2015"):
            torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), hash_prefix=INCEPTION.sha256, progress=False)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"'{INCEPTION.name}' needs weights that cannot be downloaded ({error}); put {URL_INCEPTION_V3} at {path}"
        ) from None


def _read(path: Path) -> dict[str, Tensor] | None:
    """The kept weights; None when there are none, they are of another file, or they are damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (OSError, SafetensorError):
        return None
    said = header.get("source_sha256"), header.get("tensors_sha256")
    return tensors if said == (INCEPTION.sha256, _digest(tensors)) else None


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """The whole file at once; its header says of which file these tensors are, and their own digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"source_sha256": INCEPTION.sha256, "tensors_sha256": _digest(tensors)}
    with whole(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata=header)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, in the order of their names."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].contiguous().numpy()
        sha.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        sha.update(values.tobytes())
    return sha.hexdigest()
