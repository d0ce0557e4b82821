"""What a machine or a cluster has, and how the jobs of a search share it.

On a CPU threads beyond the cores make a job several times slower (docs/log.md), so each job gets its share of the cores
and no more. Nothing here starts a job.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffusion.errors import UserError

ROUNDS_PER_JOB = 5  # a proposal sees what has finished: side by side it sees less, so only a long search affords it
NVIDIA_DRIVER = (Path("/proc/driver/nvidia"), Path("/dev/nvidiactl"))
OTHER_ACCELERATOR = Path("/dev/kfd")  # AMD's


@dataclass(frozen=True)
class Node:
    """What jobs may use of one computer."""

    cores: int
    gpus: int = 0


@dataclass(frozen=True)
class Machine:
    """The nodes on which jobs run: this computer, or those of a cluster. A job runs on one node."""

    nodes: tuple[Node, ...]
    name: str = "this machine"
    surely: bool = True  # whether the nodes have no accelerator but the ones that are counted

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where its jobs compute."""
        return "cuda" if any(node.gpus for node in self.nodes) else "cpu"

    @property
    def units(self) -> tuple[int, ...]:
        """For each node what a process occupies one of: GPUs where there are any, else cores."""
        return tuple(node.gpus if self.device == "cuda" else node.cores for node in self.nodes)

    def slots(self, processes: int) -> int:
        """How many jobs of so many processes find room at once."""
        return sum(units // processes for units in self.units)


@dataclass(frozen=True)
class Share:
    """How many jobs run at once, of how many processes each, of how many threads each, and where they compute."""

    parallel: int
    processes: int
    threads: int
    device: Literal["cpu", "cuda"] = "cpu"


def share(machine: Machine, parallel: int | Literal["auto"], processes: int, rounds: int) -> Share:
    """What each job gets; ``auto`` takes as many jobs as find room and as `rounds` afford.

    Raises:
        UserError: no node has so many cores, or GPUs.
    """
    check_processes(machine, processes)
    affordable = min(machine.slots(processes), max(1, rounds // ROUNDS_PER_JOB)) if machine.surely else 1
    return _shared(machine, affordable if parallel == "auto" else parallel, processes)


def side_by_side(
    machine: Machine, parallel: int | Literal["auto"], processes: int, jobs: int, fitting: int | None = None
) -> Share:
    """What each of so many jobs gets that do not wait for one another; ``auto`` takes the whole machine.

    On a CPU jobs of one process each, of which there are less than twice as many as cores, run all at once: with one
    thread each they share cores fairly, while a last one by itself would leave all but its own idle.

    Args:
        machine: where they run.
        parallel: how many at once, if a person said.
        processes: of each job.
        jobs: how many there are.
        fitting: how many the memory holds at once, where that is known.
    """
    if parallel != "auto":
        return _shared(machine, parallel, processes)
    room = machine.slots(processes) if machine.surely else 1
    all_at_once = machine.device == "cpu" and processes == 1 and room > 1 and jobs < 2 * room
    at_once = jobs if all_at_once else min(jobs, room)
    return _shared(machine, max(1, min(at_once, fitting or at_once)), processes)


def _shared(machine: Machine, jobs: int, processes: int) -> Share:
    """The machine in so many equal parts."""
    cores = sum(node.cores for node in machine.nodes) // jobs
    room = min(node.cores for node, units in zip(machine.nodes, machine.units, strict=True) if units >= processes)
    return Share(jobs, processes, max(1, min(cores, room) // processes), machine.device)


def check_processes(machine: Machine, processes: int) -> None:
    """Refuse a job that finds no room.

    Raises:
        UserError: no node has so many cores, or GPUs.
    """
    most = max(machine.units, default=0)
    if processes > most:
        what = "GPU" if machine.device == "cuda" else "core"
        raise UserError(f"--nproc {processes}: {machine.name} has {most} {what}{'s'[: most != 1]}; take at most {most}")


def this_machine() -> Machine:
    """The cores and GPUs that this process may use."""
    known = not OTHER_ACCELERATOR.exists() and sys.platform != "darwin"
    return Machine((Node(cores(), len(visible_gpus())),), surely=known)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that a job may use, as ``CUDA_VISIBLE_DEVICES`` names them; torch is asked only where a driver is."""
    if not any(path.exists() for path in NVIDIA_DRIVER):
        return ()
    import torch

    count = torch.cuda.device_count()
    listed = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(listed[:count]) if listed else tuple(str(number) for number in range(count))
