"""Trainings as real processes: launched as the product launches them, listened to, killed, and compared."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion.data.images import prepare_images
from diffusion.distill.plan import DistillJob
from diffusion.settings import Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec
from diffusion.training.checkpoint import Checkpoint, newest_checkpoint
from tools.executors.launch import launch_command, launch_environment

ROOT = Path(__file__).parents[2]
SPEC = UNetSpec.parse("b64-n1-m1.1.1.1-a0010")  # two channels a group: with one, biases have no gradient but noise
STRATEGY: dict[str, Any] = {"batch_size": 9, "diffusion_steps": 50, "learning_rate": 1e-3, "warmup_steps": 10}


def prepared_job(folder: Path, *, resolution: int = 8, spec: UNetSpec = SPEC, **changes: Any) -> TrainJob:
    """A job on noise images under `folder`; `changes` are of its strategy or of itself."""
    images = np.random.default_rng(0).integers(0, 256, (50, resolution, resolution)).astype(np.uint8)
    np.savez(folder / "images.npz", x_train=images)
    card = prepare_images(str(folder / "images.npz"), folder / "data")
    strategy = {name: changes.pop(name) for name in list(changes) if name in Strategy.model_fields}
    return TrainJob(
        spec=spec,
        settings=Settings(dataset="noise", resolution=resolution, channels=1, horizontal_flips=True),
        strategy=Strategy(**{**STRATEGY, **strategy}),
        seed=0,
        data_fingerprint=card.fingerprint,
        data_folder=folder / "data",
        run_folder=folder / "run",
        **changes,
    )


class Process:
    """A job as the executor starts it; `lines` are all that it said after `wait`."""

    def __init__(self, job: TrainJob | DistillJob, module: str = "diffusion.training.job", **environment: str) -> None:
        job.run_folder.mkdir(parents=True, exist_ok=True)
        path = job.run_folder / "job.json"
        path.write_text(job.model_dump_json())
        processes = job.processes if isinstance(job, TrainJob) else 1
        self.process = subprocess.Popen(
            launch_command(module, path, processes, "cpu"),
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **launch_environment(processes, "cpu"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.stdout = self.process.stdout
        self.lines: list[dict[str, Any]] = []
        self.errors = ""

    def next_line(self) -> dict[str, Any]:
        """The next line that it says; an empty one if it ends instead."""
        text = self.stdout.readline()
        if text:
            self.lines.append(json.loads(text))
        return self.lines[-1] if text else {}

    def wait(self, timeout_seconds: float = 90) -> int:
        out, self.errors = self.process.communicate(timeout=timeout_seconds)
        self.lines += [json.loads(line) for line in out.splitlines()]
        return self.process.returncode

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def ranks(self) -> list[int]:
        """The process ids of the ranks that a launcher has started, in the order in which it started them."""
        return sorted(child for child in children(self.process.pid) if b"diffusion" in command_line(child))


def children(pid: int) -> list[int]:
    """The process ids of the children of a process."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for text in texts for child in text.split()]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until_dead(pids: list[int], timeout_seconds: float = 60) -> None:
    """A rank that loses its launcher saves first; the next start waits for it, and so does a test."""
    deadline = time.monotonic() + timeout_seconds
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, f"{pids} outlived their launcher"
        time.sleep(0.05)


def newest(job: TrainJob) -> Checkpoint:
    found = newest_checkpoint(job.run_folder)
    assert found is not None
    return found


def same(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether two trainings are at one step with the same bits."""
    assert one.step == other.step and one.tensors.keys() == other.tensors.keys()
    return all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


def flat(checkpoint: Checkpoint, kind: str) -> Tensor:
    """All numbers of one kind (``model``, ``ema``, ``optimizer``).  (numbers,)"""
    return torch.cat([tensor.flatten() for name, tensor in checkpoint.tensors.items() if name.startswith(f"{kind}.")])
