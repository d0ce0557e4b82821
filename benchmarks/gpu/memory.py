"""The estimate of a training's memory against what the device counted at its peak, and a training that is too large.

On a GPU the peak is that of the allocator (`torch.cuda.max_memory_allocated`) less what was allocated before; what it
reserved stands beside it, and a process has some hundred MB of context more. On a CPU it is by how much the process
ever grew, which says something for the first row of a fresh process alone.
"""

import resource
from functools import partial

import torch

from diffusers_recipe import new_accelerator
from diffusion.cost.closed_form import cost
from diffusion.cost.peak_memory import peak_bytes
from diffusion.data.images import open_images
from diffusion.settings import Precision, TrainJob
from diffusion.training.child import Lines
from diffusion.training.job import Run
from diffusion.training.trainer import Trainer
from gpu.bench import Bench, Measured, Wrong
from gpu.results import GIB

STEPS = 3  # in the first Adam's moments appear, in the second everything is there
CAP = 0.6  # of the estimate, in which a training must divide its batches


def memory(bench: Bench) -> None:
    """Fill the rows."""
    precisions: list[Precision] = ["fp32", "bf16"]
    for number, (spec, images) in enumerate(bench.sizes.memory):
        for precision in precisions:
            job = bench.job(f"{number}-{precision}", spec, precision, batch_size=images, train_steps=STEPS)
            bench.row(f"{spec}, {images} images at once, {precision}", partial(_peak, bench, job))
    if bench.device == "cuda":
        spec, images = bench.sizes.memory[0]
        job = bench.job("capped", spec, "fp32", batch_size=images, train_steps=STEPS)
        bench.row(f"{spec}, {images} images, in {CAP:.0%} of the estimate", lambda: _capped(job))


def estimate(job: TrainJob, device: str) -> int:
    """What the product expects, in bytes."""
    settings = job.settings
    known = cost(job.spec, settings.family, settings.resolution, settings.channels)
    return peak_bytes(job, known, device)


def _peak(bench: Bench, job: TrainJob) -> Measured:
    before = _taken(bench.device)
    trainer = Trainer(job, open_images(job.data_folder, job.data_fingerprint).train, new_accelerator(job.precision))
    for report in trainer.steps():
        float(report.loss)
    bench.wait()
    taken, expected = _most_taken(bench.device) - before, estimate(job, bench.device)
    figures: dict[str, float | int] = {"estimate_bytes": expected, "measured_bytes": taken, "ratio": taken / expected}
    said = f"estimate {expected / GIB:.2f} GiB, measured {taken / GIB:.2f} GiB: {taken / expected:.2f}"
    if bench.device == "cuda":
        figures["reserved_bytes"] = torch.cuda.max_memory_reserved()
        said += f" ({figures['reserved_bytes'] / GIB:.2f} GiB reserved)"
    return said, figures


def _taken(device: str) -> int:
    """Bytes that are held now; on a GPU the count of the most begins anew."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return _resident()


def _most_taken(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device == "cuda" else _resident()


def _resident() -> int:
    """The most bytes that this process ever held in the host's memory, as Linux counts."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _capped(job: TrainJob) -> Measured:
    """Forbid the allocator more than part of the estimate, and see a training divide its batches until a step fits."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(CAP * estimate(job, "cuda") / total)
    try:
        run = Run(job, Lines(None), None)
        images = run.trainer.micro_batch_size
        for report in run.trainer.steps():
            float(report.loss)
    except torch.OutOfMemoryError as error:
        raise Wrong("out of memory, although batches can be divided", {}) from error
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    if images >= job.strategy.batch_size:
        raise Wrong(f"{images} images at once, as without a cap", {"micro_batch_size": images})
    return f"trains {images} images at once", {"micro_batch_size": images}
