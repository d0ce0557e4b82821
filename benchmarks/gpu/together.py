"""Several small trainings at once on one device: what they get done together, beside one alone.

Counted is what happens between the moment when the last of them is under way and the moment when all are asked to
stop; start-up is left out. Each is a process with its own threads, and on a GPU with its own context.
"""

import time
from contextlib import ExitStack
from functools import partial
from itertools import pairwise

import torch

from gpu.bench import Bench, Measured
from gpu.children import POLL_SECONDS, TRAIN, Child, started
from gpu.results import GIB, Figure

ENDLESS = 10**7  # steps; each is stopped long before
LOG_STEPS = 10


def together(bench: Bench) -> None:
    """One row for each number of trainings."""
    spec = bench.sizes.together_spec
    alone: list[float] = []  # images a second of each number, the first is one
    for count in bench.sizes.together:
        what = f"{count} × {spec}, batch {bench.sizes.batch_size}"
        bench.row(what, partial(_rate, bench, spec, count, alone), share=0.8)


def _rate(bench: Bench, spec: str, count: int, alone: list[float]) -> Measured:
    threads = max(1, bench.cores // count)
    how = {
        "train_steps": ENDLESS, "checkpoint_steps": ENDLESS, "log_steps": LOG_STEPS, "threads": threads,
        "batch_size": bench.sizes.batch_size,
    }  # fmt: skip
    jobs = [bench.job(f"{count}-{number}", spec, "bf16", **how) for number in range(count)]
    free_before = _free(bench.device)
    with ExitStack() as stack:
        children = [stack.enter_context(started(TRAIN, job, bench.device)) for job in jobs]
        for child in children:
            child.wait_for_step(2 * LOG_STEPS, bench.until())
        begin = time.monotonic()
        end = begin + bench.sizes.together_seconds
        while time.monotonic() < end or any(child.said("progress")[-1][0] < end for child in children):
            if failed := next((child for child in children if child.process.poll() is not None), None):
                failed.done(bench.until())  # says why
            time.sleep(POLL_SECONDS)
        taken = free_before - _free(bench.device)
    rate = sum(steps_between(child, begin, end) for child in children) * bench.sizes.batch_size / (end - begin)
    alone.append(rate)
    figures: dict[str, Figure] = {"images_per_second": rate, "ratio": rate / alone[0], "threads": threads}
    said = f"{rate:,.0f} images/s together: {rate / alone[0]:.2f} × one alone"
    if bench.device == "cuda":
        figures["bytes_each"] = taken // count
        said += f", {taken / count / GIB:.2f} GiB each"
    return said, figures


def steps_between(child: Child, begin: float, end: float) -> float:
    """Steps, in fractions, between two moments, from the moments at which steps were reported."""
    reported = [(at, line["step"]) for at, line in child.said("progress")]

    def step_at(moment: float) -> float:
        for (before, low), (after, high) in pairwise(reported):
            if before <= moment <= after:
                return float(low + (high - low) * (moment - before) / (after - before))
        raise RuntimeError("a training said nothing around a moment that counts")

    return step_at(end) - step_at(begin)


def _free(device: str) -> int:
    """Bytes that all processes leave free on the device."""
    return torch.cuda.mem_get_info()[0] if device == "cuda" else 0
