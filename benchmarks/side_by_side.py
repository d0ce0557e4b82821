"""Trainings side by side against one after the other, and one training on two processes against one, on two cores.

``python benchmarks/side_by_side.py --case small`` (or ``larger``, ``colour``; ``--ways local,ray,gloo`` by default).
Each turn does all of them, in another order: two candidates one after the other with two threads; both at once with one
thread each, as `--executor local --parallel 2` and as `--executor ray --parallel 2` run them; one training on one
process of one thread, and the same on two that share each batch over gloo. Prints the seconds, and the median of the
ratios turn by turn with their quartiles.

The processes are those that the product starts. Their start-up is excluded: a training counts from its first step on,
as its own ``done`` line has it; what runs at once counts from the first step of the first to the last of the last.
"""

import argparse
import os
import platform
import random
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch

from diffusion.cost.throughput import device_name
from diffusion.data.card import DataCard
from diffusion.data.images import prepare_images
from diffusion.settings import Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec
from diffusion.training.settings import JobSettings
from tools.executors.base import Executor
from tools.executors.local import LocalExecutor
from tools.executors.machine import this_machine


@dataclass(frozen=True)
class Case:
    """What is trained: on the embedded digits at 8×8, at other sizes on noise in three channels."""

    spec: str
    resolution: int
    batch_size: int
    steps: int

    @property
    def channels(self) -> int:
        return 1 if self.resolution == 8 else 3

    def prepare(self, folder: Path) -> DataCard:
        """The images, ready for trainings."""
        if self.resolution == 8:
            return prepare_images("digits", folder / "data")
        shape = (1024, self.resolution, self.resolution, self.channels)
        np.savez(folder / "noise.npz", x_train=np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
        return prepare_images(str(folder / "noise.npz"), folder / "data")


CASES = {
    "small": Case("b16-n1-m1.2.2.2-a0100", 8, 128, 300),
    "larger": Case("b32-n1-m1.2.2.2-a0100", 8, 128, 300),
    "colour": Case("b32-n1-m1.2.2.2-a0100", 32, 32, 40),
}
AT_ONCE = 2
Span = tuple[float, float]  # when the first step began, when the last ended, by the monotonic clock
Way = Callable[[Path], float]


def job(case: Case, card: DataCard, data: Path, steps: int, run_folder: Path, **how: Any) -> TrainJob:
    """A training that is not saved before its end."""
    return TrainJob(
        spec=UNetSpec.parse(case.spec),
        settings=Settings(dataset="benchmark", resolution=case.resolution, channels=case.channels),
        strategy=Strategy(train_steps=steps, batch_size=case.batch_size),
        seed=0,
        data_fingerprint=card.fingerprint,
        data_folder=data,
        run_folder=run_folder,
        running=JobSettings(checkpoint_steps=steps),
        **how,
    )


def span(executor: Executor, one: TrainJob) -> Span:
    """Train, and say from when to when."""
    done = executor.train(one, lambda event: None)
    end = time.monotonic()
    return end - done["device_seconds"] / one.processes, end


def seconds(spans: Sequence[Span]) -> float:
    """From the first step of the first to the last of the last."""
    return max(end for _, end in spans) - min(start for start, _ in spans)


def in_turn(executor: Executor, jobs: Sequence[TrainJob]) -> float:
    """One after the other, the start-up of each left out."""
    return sum(seconds([span(executor, one)]) for one in jobs)


def at_once(executor: Executor, jobs: Sequence[TrainJob]) -> float:
    """All together."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return seconds(list(pool.map(partial(span, executor), jobs)))


def ways(asked: Sequence[str], make: Callable[..., TrainJob], stack: ExitStack) -> dict[str, Way]:
    """What is compared, by name; each takes a folder of its own."""
    local = LocalExecutor(Event())

    def pair(folder: Path, threads: int) -> list[TrainJob]:
        return [make(folder / f"candidate-{number}", threads=threads) for number in range(AT_ONCE)]

    found: dict[str, Way] = {}
    if "local" in asked or "ray" in asked:
        found["one after the other"] = lambda folder: in_turn(local, pair(folder, AT_ONCE))
    if "local" in asked:
        found["local, side by side"] = lambda folder: at_once(local, pair(folder, 1))
    if "ray" in asked:
        from tools.executors.machine import share
        from tools.executors.ray_cluster import RayExecutor, ray_cluster

        cluster = stack.enter_context(ray_cluster(None))
        remote = RayExecutor(Event(), cluster, share(cluster, AT_ONCE, 1, 0))
        found["ray, side by side"] = lambda folder: at_once(remote, pair(folder, 1))
    if "gloo" in asked:
        found["one process"] = lambda folder: in_turn(local, [make(folder / "one")])
        found["two processes"] = lambda folder: in_turn(local, [make(folder / "two", processes=2)])
    return found


COMPARED = {  # what, against what, and whether less or more of it is better
    "local, side by side": "one after the other",
    "ray, side by side": "one after the other",
    "two processes": "one process",
}


def report(taken: dict[str, list[float]]) -> None:
    """The seconds of each way, and the ratios of those that belong together."""
    for name, times in taken.items():
        print(f"  {name:<20} {statistics.median(times):>7.1f} s  ({', '.join(f'{one:.1f}' for one in times)})")
    for name, other in COMPARED.items():
        if name not in taken:
            continue
        pairs = zip(taken[name], taken[other], strict=True)
        low, middle, high = statistics.quantiles([ours / theirs for ours, theirs in pairs], n=4, method="inclusive")
        print(
            f"  {name}: {middle:.3f} of the time of {other} (quartiles {low:.3f} to {high:.3f}), "
            f"{1 / middle:.2f} times as fast"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=list(CASES), default="small")
    parser.add_argument("--ways", default="local,ray,gloo")
    parser.add_argument("--turns", type=int, default=5, help="at least 2")
    parser.add_argument("--steps", type=int, help="of each training; the case's own by default")
    arguments = parser.parse_args()
    if this_machine().nodes[0].cores != AT_ONCE:
        print(f"This compares {AT_ONCE} jobs on {AT_ONCE} cores; run it as `taskset -c 0,1 python …`.", file=sys.stderr)
    print(f"{date.today()}, {device_name('cpu')}, {platform.machine()}, {os.cpu_count()} cores,")
    print(f"Python {platform.python_version()}, torch {torch.__version__}: python {shlex.join(sys.argv)}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        case = CASES[arguments.case]
        steps = arguments.steps or case.steps
        make = partial(job, case, case.prepare(folder), folder / "data", steps)
        compared = ways(arguments.ways.split(","), make, stack)
        taken: dict[str, list[float]] = {name: [] for name in compared}
        order = random.Random(0)
        for turn in range(arguments.turns):
            for name in order.sample(list(compared), len(compared)):
                taken[name].append(compared[name](folder / f"turn-{turn}" / name))
                print(f"  turn {turn + 1}: {name} {taken[name][-1]:.1f} s", file=sys.stderr, flush=True)
        size = f"{case.resolution}×{case.resolution}×{case.channels}"
        print(f"{arguments.case}: {case.spec} at {size}, batch {case.batch_size}, {steps} steps")
        report(taken)


if __name__ == "__main__":
    main()
