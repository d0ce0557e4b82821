"""Checkpoints: one safetensors file with weights, EMA, optimiser and, in its header, the job that made them.

A file appears whole or not at all (temporary file, fsync, rename), also on a disk that fills up meanwhile. Loading
needs the path and nothing else. A *snapshot* holds the averaged weights of one step alone: it is kept, to be sampled
and scored later, but no training resumes from it. The header names the version of the training code: weights of another
version may be sampled, but are not trained on.
"""

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from diffusion.errors import TrainingFailed
from diffusion.files.writing import PART, whole
from diffusion.settings import CODE_VERSION, TrainJob
from diffusion.training.curve import LossCurve
from diffusion.training.network import empty_network

NAME = re.compile(r"(?P<kind>step|ema)-(?P<step>\d{8})\.safetensors")
KEPT = 2  # the newest, and the one before in case the newest is damaged
FIRST_VERSION = "1"  # of files that do not name theirs
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
MIB = 2**20


@dataclass(frozen=True)
class Checkpoint:
    """A training at one step."""

    job: TrainJob
    step: int
    seconds: float  # device-seconds spent so far, over all restarts
    tensors: Mapping[str, Tensor]
    code_version: int = CODE_VERSION  # of the training code that wrote it
    curve: LossCurve = field(default_factory=LossCurve)  # of the loss so far


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write the checkpoint of a step, then drop all but the last two.

    Raises:
        TrainingFailed: the disk is full; the checkpoints of before are as they were.
    """
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
        "code": str(checkpoint.code_version),
        "curve": checkpoint.curve.as_text(),
    }
    save_tensors(path, tensors, header, f"step {checkpoint.step}")
    return path


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: dict[str, str], what: str) -> None:
    """Write a file of weights whole or not at all.

    Raises:
        TrainingFailed: the disk is full; it names what could not be saved.
    """
    size = sum(tensor.nbytes for tensor in tensors.values()) / MIB
    with _room(path, f"{what} ({size:.1f} MiB)"), whole(path) as part:
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, part, metadata=header)


@contextmanager
def _room(path: Path, what: str) -> Iterator[None]:
    """Say of a disk that fills up what could not be saved on it."""
    try:
        yield
    except BaseException as error:
        if not disk_is_full(error):
            raise
        raise TrainingFailed(
            f"no space left on device while saving {what} in '{path.parent}'; free some space and try again"
        ) from error


def disk_is_full(error: BaseException) -> bool:
    """Whether an error of the system or of safetensors says so."""
    if isinstance(error, SafetensorError):
        return any(os.strerror(number) in str(error) for number in DISK_FULL)
    return isinstance(error, OSError) and error.errno in DISK_FULL


def drop_torn_files(folder: Path) -> None:
    """Remove what a process that was killed while it saved has left; whoever calls holds the folder's lock."""
    for pattern in (f"*{PART}", ".tmp*"):  # the second is safetensors' own, before it has our name
        for torn in folder.glob(pattern):
            torn.unlink(missing_ok=True)


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
        TrainingFailed: another version of the training code wrote it, in words that this one does not know.
    """
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        if "job" not in header:
            raise SafetensorError(f"{path} holds weights but no job; it was not written by a training of ours")
        version = header.get("code", FIRST_VERSION)
        try:
            job = TrainJob.model_validate_json(header["job"])
            step, seconds, code_version = int(header["step"]), float(header["seconds"]), int(version)
            curve = LossCurve.from_text(header["curve"]) if "curve" in header else LossCurve()
        except (KeyError, ValueError):
            raise TrainingFailed(
                f"'{path}' was written by version {version} of the training code and this is version {CODE_VERSION}, "
                "which cannot read its job; go on with the version that wrote it, or move the folder away"
            ) from None
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    return Checkpoint(job, step, seconds, tensors, code_version, curve)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest readable checkpoint of a run folder; a damaged one is passed over.

    Raises:
        TrainingFailed: another version of the training code wrote it, in words that this one does not know.
    """
    for path in reversed(checkpoint_paths(folder)):
        try:
            return load_checkpoint(path)
        except SafetensorError:
            continue
    return None


def ema_model(checkpoint: Checkpoint) -> nn.Module:
    """The network with the averaged weights of a checkpoint, ready to sample.  (N,C,R,R), (N,) → (N,C,R,R)"""
    model: nn.Module = empty_network(checkpoint.job)
    weights = {name.removeprefix("ema."): tensor for name, tensor in checkpoint.tensors.items() if name[:4] == "ema."}
    model.load_state_dict(weights, assign=checkpoint.job.student is not None)
    return model.eval()  # gradients stay on: without them torch multiplies otherwise than in an exported pipeline


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        TrainingFailed: the disk is full.
    """
    with _room(path, path.name), whole(path) as part, part.open("w") as file:
        json.dump(value, file, indent=1)
