"""Checkpoints: one safetensors file with weights, EMA, optimiser and, in its header, the job that made them.

A file appears whole or not at all (temporary file, fsync, rename). Loading needs the path and nothing else. A
*snapshot* holds the averaged weights of one step alone: it is kept, to be sampled and scored later, but no training
resumes from it.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from diffusion.settings import TrainJob
from diffusion.unet import build_unet

NAME = re.compile(r"(?P<kind>step|ema)-(?P<step>\d{8})\.safetensors")
KEPT = 2  # the newest, and the one before in case the newest is cut by a full disk


@dataclass(frozen=True)
class Checkpoint:
    """A training at one step."""

    job: TrainJob
    step: int
    seconds: float  # device-seconds spent so far, over all restarts
    tensors: Mapping[str, Tensor]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write the checkpoint of a step, then drop all but the last two."""
    path = _write(folder / f"step-{checkpoint.step:08d}.safetensors", checkpoint, checkpoint.tensors)
    for old in checkpoint_paths(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def save_snapshot(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write the averaged weights of a step, to be kept."""
    averages = {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith("ema.")}
    return _write(folder / f"ema-{checkpoint.step:08d}.safetensors", checkpoint, averages)


def _write(path: Path, checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> Path:
    """The whole file at once, on the disk when this returns."""
    header = {
        "job": checkpoint.job.model_dump_json(),
        "step": str(checkpoint.step),
        "seconds": repr(checkpoint.seconds),
    }
    part = path.with_suffix(".part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata=header)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    return path


def step_checkpoint(folder: Path, step: int) -> Checkpoint | None:
    """The readable checkpoint or snapshot of one step."""
    for kind in ("step", "ema"):
        path = folder / f"{kind}-{step:08d}.safetensors"
        try:
            return load_checkpoint(path)
        except (FileNotFoundError, SafetensorError):
            continue
    return None


def checkpoint_paths(folder: Path) -> list[Path]:
    """The checkpoints of a run folder, oldest first."""
    return sorted(path for path in folder.glob("step-*.safetensors") if NAME.fullmatch(path.name))


def kept_steps(folder: Path) -> list[int]:
    """The steps whose averaged weights a run folder still holds, in order."""
    names = [NAME.fullmatch(path.name) for path in folder.glob("*.safetensors")]
    return sorted({int(name["step"]) for name in names if name})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        SafetensorError: the file is cut or not a checkpoint.
    """
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        if "job" not in header:
            raise SafetensorError(f"{path} holds weights but no job; it was not written by a training of ours")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    job = TrainJob.model_validate_json(header["job"])
    return Checkpoint(job, int(header["step"]), float(header["seconds"]), tensors)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest readable checkpoint of a run folder; a damaged one is passed over."""
    for path in reversed(checkpoint_paths(folder)):
        try:
            return load_checkpoint(path)
        except SafetensorError:
            continue
    return None


def ema_model(checkpoint: Checkpoint) -> nn.Module:
    """The network with the averaged weights of a checkpoint, ready to sample.  (N,C,R,R), (N,) → (N,C,R,R)"""
    model: nn.Module = build_unet(checkpoint.job.spec, checkpoint.job.settings)
    weights = {name.removeprefix("ema."): tensor for name, tensor in checkpoint.tensors.items() if name[:4] == "ema."}
    model.load_state_dict(weights)
    return model.eval()  # gradients stay on: without them torch multiplies otherwise than in an exported pipeline


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
