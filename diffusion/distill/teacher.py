"""The network that a student is made from, read from a folder without trust.

A teacher is the unconditional `UNet2DModel` of a folder: one that `diffnas-agent export` wrote, a pipeline of
diffusers', or the folder of the network alone. Weights are safetensors; a pickle is not opened.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from diffusion.distill.units import units_of
from diffusion.errors import UserError
from diffusion.scores.networks import file_sha256
from diffusion.training.weights import load_weights

if TYPE_CHECKING:
    from diffusers import UNet2DModel

INDEX, NETWORK = "model_index.json", "UNet2DModel"
CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
AGAIN = "name another teacher"


def load_teacher(folder: Path) -> "UNet2DModel":
    """The network in a folder, on the CPU, for evaluation.

    Raises:
        UserError: there is none, it is no unconditional `UNet2DModel` of known blocks, or its files are damaged.
    """
    teacher, path = network_of(folder), weights_file(folder)
    teacher.load_state_dict(load_weights(path, teacher, whose="of another network", again=AGAIN), assign=True)
    return teacher.eval().requires_grad_(False)


def network_of(folder: Path, dropout: float | None = None) -> "UNet2DModel":
    """The structure of the network in a folder, on the meta device, with its own dropout or another.

    Raises:
        UserError: as `load_teacher`, but no weights are looked at.
    """
    place = network_folder(folder)
    config = _config(place)
    if (kind := config.get("_class_name", NETWORK)) != NETWORK:
        raise UserError(f"'{folder}' holds a {kind!s:.40}; only an unconditional {NETWORK} can be compressed")
    if dropout is not None:
        config |= {"dropout": dropout}
    network = structure(place / CONFIG, config, noun=NETWORK, again=AGAIN)
    units_of(network)  # of known blocks, told no class
    return network


def weights_file(folder: Path) -> Path:
    """Where the weights of the network in a folder lie.

    Raises:
        UserError: they are a pickle alone.
    """
    place = network_folder(folder)
    _no_pickle(place)
    return place / WEIGHTS


def teacher_sha256(folder: Path) -> str:
    """Which network a folder holds: the digest of its structure and its weights.

    Raises:
        UserError: it holds none, or its weights are a pickle alone.
    """
    weights = weights_file(folder)
    structure = json.dumps(arguments_of(_config(network_folder(folder))), sort_keys=True)
    return hashlib.sha256(f"{structure}\n{file_sha256(weights)}".encode()).hexdigest()


def network_folder(folder: Path) -> Path:
    """Where the files of the network lie: below a pipeline, or in the folder itself.

    Raises:
        UserError: the folder holds neither.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is no folder; name a trial, or the folder of an export or of a diffusers model")
    if not (folder / INDEX).is_file():
        if (folder / CONFIG).is_file():
            return folder
        raise UserError(f"'{folder}' has neither {INDEX} nor {CONFIG}; name the folder of a diffusers model")
    parts = _json(folder / INDEX)
    kind = parts.get("unet")
    if not isinstance(kind, list) or len(kind) != 2:
        what = str(parts.get("_class_name", "pipeline"))
        raise UserError(f"'{folder}' is a {what:.60} without a UNet; only an unconditional {NETWORK} can be compressed")
    if kind[1] != NETWORK:
        raise UserError(f"'{folder}' holds a {kind[1]!s:.40}; only an unconditional {NETWORK} can be compressed")
    return folder / "unet"


def _config(place: Path) -> dict[str, Any]:
    if not (place / CONFIG).is_file():
        raise UserError(f"'{place / CONFIG}' is missing; {AGAIN}")
    return _json(place / CONFIG)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise UserError(f"'{path}' is damaged; {AGAIN}") from None
    if not isinstance(found, dict):
        raise UserError(f"'{path}' is damaged; {AGAIN}")
    return found


def arguments_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a network is made from, without what diffusers notes beside it."""
    return {name: value for name, value in config.items() if not name.startswith("_")}


def structure(path: Path, config: Mapping[str, Any], *, noun: str, again: str) -> "UNet2DModel":
    """The network that a configuration describes, on the meta device.

    Raises:
        UserError: it describes none; the sentence names the file, what it was to describe, and the remedy.
    """
    from diffusers import UNet2DModel

    try:
        with torch.device("meta"):
            return UNet2DModel(**arguments_of(config))
    except (TypeError, ValueError, ZeroDivisionError, IndexError, KeyError, RuntimeError) as error:
        raise UserError(f"'{path}' describes no {noun} ({error!s:.80}); {again}") from None


def _no_pickle(place: Path) -> None:
    pickled = [path.name for path in place.glob("*.bin")]
    if pickled and not (place / WEIGHTS).is_file():
        raise UserError(f"'{place / pickled[0]}' is a pickle, which is not opened; save the model as safetensors")
