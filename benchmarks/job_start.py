"""How long a job takes to begin: fresh processes beside forks of a warm one, ``python benchmarks/job_start.py``.

Each turn trains a few steps of b8 on the embedded digits in both ways, in another order each time, and takes the time
from asking the executor to the first step's beginning (its first progress line, less the step that it reports), and to
the job's end. Prints medians and quartiles as rows for docs/benchmarks.md, and the first fork by itself: it waits until
its server has imported everything.
"""

import argparse
import os
import platform
import random
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import torch

from diffusion.cost.throughput import device_name
from diffusion.data.images import prepare_images
from diffusion.settings import Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec
from tools.executors.local import LocalExecutor

STEPS = 4


class Times(NamedTuple):
    """Seconds since the executor was asked."""

    first_step: float
    end: float


def timed(executor: LocalExecutor, job: TrainJob) -> Times:
    """Train, and say when the first step began and when all was over."""
    begun: list[float] = []

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "progress" and not begun:
            begun.append(time.perf_counter() - job.strategy.batch_size / event["images_per_second"])

    asked = time.perf_counter()
    executor.train(job, tell)
    return Times(begun[0] - asked, time.perf_counter() - asked)


def race(folder: Path, turns: int, batch_size: int) -> dict[str, list[Times]]:
    """All turns of both ways; the first fork is a row of its own."""
    card = prepare_images("digits", folder / "data")
    ways = {name: LocalExecutor(Event(), is_warm=name == "fork") for name in ("fresh", "fork")}
    found: dict[str, list[Times]] = {"first fork": [], "fresh": [], "fork": []}

    def job(name: str) -> TrainJob:
        return TrainJob(
            spec=UNetSpec.parse("b8-n1-m1.1.1.1-a0000"), settings=Settings(dataset="digits", resolution=8, channels=1),
            strategy=Strategy(train_steps=STEPS, batch_size=batch_size), seed=0, log_steps=1, measures_peak=False,
            data_fingerprint=card.fingerprint, data_folder=folder / "data", run_folder=folder / name,
        )  # fmt: skip

    found["first fork"].append(timed(ways["fork"], job("first")))
    order = random.Random(0)
    for turn in range(turns):
        for name in order.sample(list(ways), len(ways)):
            found[name].append(timed(ways[name], job(f"{name}-{turn}")))
    return found


def report(found: dict[str, list[Times]]) -> None:
    """A row for each way."""
    for name, times in found.items():
        cells = []
        for values in zip(*times, strict=True):
            low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if values[1:] else values * 3
            cells.append(f"{middle:.2f} s ({low:.2f} to {high:.2f})")
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7, help="at least 2")
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()
    print(f"{date.today()}, {device_name('cpu')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, ", end="")
    print(f"Python {platform.python_version()}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        report(race(Path(folder), arguments.turns, arguments.batch_size))


if __name__ == "__main__":
    main()
