"""How much memory a training takes, before it takes it: from the cost of its spec, in closed form, without torch.

What is counted: weights, gradients, Adam's two moments, the average, the activations of one micro batch, the batch
itself and the data set. What is not: the libraries, which a process holds before a network is built. Activations are
counted in fp32, so under bf16 the estimate is an upper bound.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffusion.cost.closed_form import BYTES_PER_NUMBER, Cost, Costs, Count
from diffusion.settings import TrainJob

if TYPE_CHECKING:
    import torch

STATE_COPIES = 4  # weights, average and Adam's two moments
UPDATE_COPIES = 2  # gradients, and the average's distance from the weights
BATCH_COPIES = 5  # images, noise, the noisy images, what the network predicts and its gradient
ALLOCATOR = {"cpu": 1.65, "cuda": 1.0}
"""Memory that a backward pass takes for each byte it keeps. On a CPU fitted to b64-n1-m1.2.2.2-a0100 at 32×32 (40
images took 0.99 GiB, 80 took 1.97, all states included), within 2 % for b128-n1-m1.1.2.2-a0000; no GPU was tried."""
CGROUP = Path("/sys/fs/cgroup")


def peak_bytes(job: TrainJob, known: Cost, device: str = "cpu") -> int:
    """The most memory that one process of a training holds at once, beyond what it held before, in bytes."""
    return int(_peak(job, known.params, known.activation_bytes, device)) + _data_bytes(job)


def peak_bytes_of_many(job: TrainJob, known: Costs, device: str = "cpu") -> NDArray[np.int64]:
    """`peak_bytes` of trainings that differ from `job` in their spec alone.  (N,)"""
    return np.asarray(_peak(job, known.params, known.activation_bytes, device) + _data_bytes(job), dtype=np.int64)


def _peak(job: TrainJob, params: Count, activation_bytes: Count, device: str) -> Count:
    """What the network takes, without the data, for one spec or for many."""
    weights = params * BYTES_PER_NUMBER
    shared = weights if job.processes > 1 else 0  # the buckets in which gradients are exchanged
    images = min(job.micro_batch_size or job.largest_share, job.largest_share)
    backward = np.asarray(ALLOCATOR[device] * activation_bytes * images).astype(np.int64)
    return STATE_COPIES * weights + shared + np.maximum(backward, UPDATE_COPIES * weights)


def fitting_micro_batch_size(job: TrainJob, known: Cost, free: int, device: str = "cpu") -> int | None:
    """The most images at once, halving a process's share, whose estimate stays within `free` bytes.

    Returns:
        The whole share where that fits; None where not even one image does.
    """
    images = job.largest_share
    while peak_bytes(job.model_copy(update={"micro_batch_size": images}), known, device) > free:
        if images == 1:
            return None
        images = -(-images // 2)
    return images


def free_bytes(device: "torch.device", processes: int) -> int:
    """Memory that a process may still take, in bytes: its share of the machine's, or what its GPU has left."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return free_host_bytes() // processes


def free_host_bytes() -> int:
    """Memory that this machine, or the container that this runs in, has left, in bytes."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))
    with suppress(OSError, ValueError):  # no container, or one without a limit
        limit = int((CGROUP / "memory.max").read_text())
        free = min(free, limit - int((CGROUP / "memory.current").read_text()))
    return free


def _data_bytes(job: TrainJob) -> int:
    """The batch in fp32, and the data set as far as it is prepared."""
    pixels = job.settings.channels * job.settings.resolution**2
    batch = BATCH_COPIES * pixels * job.strategy.batch_size * BYTES_PER_NUMBER
    try:
        return batch + (job.data_folder / job.data_fingerprint / "train.npy").stat().st_size
    except OSError:
        return batch
