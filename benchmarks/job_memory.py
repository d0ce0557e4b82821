"""Jobs that keep the memory they freed beside jobs that give it back, and how many images at once suit each.

``python benchmarks/job_memory.py`` (``--case features``, ``sampling-32``, ``sampling-8``, ``training-32``;
``--batch-sizes 16,32`` to look for the best; ``--turns 3`` is the shortest useful run). The contestants of a case are
forks of this process, which computes nothing, and take turns in another order each time: first what the product did
before 2026-11-28, at the batch size that it took, then what it does now. Prints for each images a second of wall-clock
time, CPU time an image in user and system, page faults an image, the most memory that was resident, and the ratio of
CPU times turn by turn with its quartiles, as rows for docs/benchmarks.md.

On a machine that does other things, too, the wall-clock figures are not worth much; ratios of CPU times are.
"""

import argparse
import multiprocessing
import os
import platform
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator

from diffusion.cost.throughput import device_name
from diffusion.samplers import sample_images, usual_batch_size
from diffusion.scores.efficientnet import load_lite0, merged, pooled_features
from diffusion.scores.networks import score_network
from diffusion.settings import Sampling, Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec
from diffusion.training.allocator import keep_freed_memory
from diffusion.training.trainer import Trainer
from diffusion.unet import build_unet

SAMPLING_STEPS = 2
KIB = 1024

Work = Callable[[], object]
Make = Callable[[int, int, bool], Work]  # from the batch size, the images a turn, and whether it is as before


@dataclass(frozen=True)
class Case:
    """What is computed, on how many images a turn, and how many were taken at once before."""

    make: Make
    images: int
    before: int
    now: int


@dataclass
class Contestant:
    """One way to do it, in a process of its own."""

    name: str
    keeps: bool
    batch_size: int
    turns: list["Turn"] = field(default_factory=list)

    def play(self, case: Case, threads: int, asked: "Connection[bool, Turn]") -> None:
        """Take a turn whenever it is asked for one."""
        if self.keeps:
            keep_freed_memory()
        torch.set_num_threads(threads)
        work = case.make(self.batch_size, case.images, not self.keeps)
        while asked.recv():
            asked.send(measured(work))


class Turn(NamedTuple):
    """What a turn took: seconds, and memory in bytes so far."""

    wall: float
    user: float
    system: float
    faults: int
    peak: int

    @property
    def cpu(self) -> float:
        """All of its CPU time."""
        return self.user + self.system


def measured(work: Work) -> Turn:
    """One turn, and what it took."""
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return Turn(wall, user, system, after.ru_minflt - before.ru_minflt, after.ru_maxrss * KIB)


def features(batch_size: int, images: int, is_before: bool) -> Work:
    """EfficientNet-Lite0 on noise of 32×32, which it resizes to 224×224; before, with norms of their own."""
    network = load_lite0() if is_before else merged(load_lite0())
    pixels = torch.from_numpy(noise(images, 3, 32))  # (images, 3, 32, 32)

    def work() -> None:
        with torch.no_grad():
            for batch in pixels.split(batch_size):
                pooled_features(network, batch)

    return work


def sampling(spec: str, resolution: int, channels: int) -> Make:
    """A few steps of DDIM by an untrained network."""

    def make(batch_size: int, images: int, is_before: bool) -> Work:
        settings = Settings(dataset="noise", resolution=resolution, channels=channels)
        model = build_unet(UNetSpec.parse(spec), settings)
        return lambda: sample_images(
            model,
            settings,
            Sampling(sampler="ddim", steps=SAMPLING_STEPS),
            diffusion_steps=1000,
            indices=range(images),
            seed=0,
            batch_size=batch_size,
        )

    return make


def training(batch_size: int, images: int, is_before: bool) -> Work:
    """Steps of a small network at 32×32."""
    job = TrainJob(
        spec=UNetSpec.parse("b8-n1-m1.2.2.2-a0000"), settings=Settings(dataset="noise", resolution=32, channels=3),
        strategy=Strategy(train_steps=10**6, batch_size=batch_size), seed=0, data_fingerprint="benchmark",
        data_folder=Path("unused"), run_folder=Path("unused"),
    )  # fmt: skip
    steps: Iterator[object] = iter(Trainer(job, noise(1024, 3, 32), Accelerator(cpu=True)).steps())

    def work() -> None:
        for _ in range(0, images, batch_size):
            next(steps)

    return work


def noise(count: int, channels: int, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Images that look like nothing.  (count, channels, side, side)"""
    return np.random.default_rng(0).integers(0, 256, (count, channels, side, side), dtype=np.uint8)


CASES = {
    "features": Case(features, 96, before=8, now=score_network("efficientnet-lite0").cpu_batch_size),
    "sampling-32": Case(sampling("b16-n2-m1.2.2.2-a0010", 32, 3), 256, before=64, now=usual_batch_size(32, "cpu")),
    "sampling-8": Case(sampling("b16-n1-m1.2.2.2-a0100", 8, 1), 1024, before=256, now=usual_batch_size(8, "cpu")),
    "training-32": Case(training, 256, before=64, now=64),
}


def race(case: Case, contestants: Sequence[Contestant], turns: int, threads: int) -> None:
    """Let everybody warm up twice, then all take turns."""
    fork = multiprocessing.get_context("fork")
    pipes = [fork.Pipe() for _ in contestants]
    processes = [
        fork.Process(target=one.play, args=(case, threads, its), daemon=True)
        for one, (_, its) in zip(contestants, pipes, strict=True)
    ]
    for process in processes:
        process.start()
    order = random.Random(0)
    for turn in range(-2, turns):
        for one, (ours, _) in order.sample(list(zip(contestants, pipes, strict=True)), len(pipes)):
            ours.send(True)
            taken = ours.recv()
            if turn >= 0:
                one.turns.append(taken)
    for process, (ours, _) in zip(processes, pipes, strict=True):
        ours.send(False)
        process.join()


def report(name: str, case: Case, contestants: Sequence[Contestant]) -> None:
    """A row for each: what it took, and against the first."""
    first = contestants[0]
    for one in contestants:
        wall, user, system, faults = (
            statistics.median(values) / case.images for values in list(zip(*one.turns, strict=True))[:4]
        )
        against = (
            "" if one is first else f"{ratio(first, one, 'cpu')} by CPU time, {ratio(first, one, 'wall')} by clock"
        )
        peak = one.turns[-1].peak / 2**20
        print(
            f"| {name}: {one.name}, {one.batch_size} at once | {1 / wall:,.1f} images/s | "
            f"{1000 * user:.3g} + {1000 * system:.3g} ms | {faults:,.0f} | {peak:,.0f} MiB | {against} |"
        )


def ratio(first: Contestant, one: Contestant, what: str) -> str:
    """How many times as fast as the first, turn by turn."""
    pairs = zip(first.turns, one.turns, strict=True)
    ratios = [getattr(before, what) / getattr(now, what) for before, now in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.2f} × ({low:.2f} to {high:.2f})"


def contestants_of(case: Case, batch_sizes: Sequence[int]) -> list[Contestant]:
    """What was before, and what is now at each batch size."""
    return [Contestant("before", False, case.before), *(Contestant("now", True, size) for size in batch_sizes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=[*CASES, "all"], default="all")
    parser.add_argument("--turns", type=int, default=7, help="at least 2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-sizes", help="to compare, such as 8,16,32; the product's own by default")
    arguments = parser.parse_args()
    print(f"{date.today()}, {device_name('cpu')}, {os.cpu_count()} cores, {arguments.threads} threads, ", end="")
    print(f"Python {platform.python_version()}, torch {torch.__version__}")
    for name, case in CASES.items():
        if arguments.case in (name, "all"):
            sizes = [int(size) for size in arguments.batch_sizes.split(",")] if arguments.batch_sizes else [case.now]
            contestants = contestants_of(case, sizes)
            race(case, contestants, arguments.turns, arguments.threads)
            report(name, case, contestants)


if __name__ == "__main__":
    main()
