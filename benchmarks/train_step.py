"""Our training step beside that of diffusers' official recipe, ``examples/unconditional_image_generation/
train_unconditional.py``, in one process and alternately: ``python benchmarks/train_step.py --threads 2``.

Prints, for the DDPM spec at 32×32 and a small spec at 8×8, images a second, the ratio to the recipe (the median over
turns, with its quartiles), the share of the measured matmul peak, and for a compiled network the seconds of warm-up and
the number of steps from which it pays. ``--case small --turns 5`` is the shortest useful run.

The same in both: spec, dropout, number of images in each batch, all batches full, precision, threads, noise process,
loss, clipping at norm 1, AdamW, averaged weights (the recipe's ``--use_ema``), a learning rate that changes each step.
Otherwise in the recipe, and written out plainly here: images are PNG in a `datasets` table, decoded and transformed one
by one in a `DataLoader` of the main process; AdamW, clipping and averaging as they are by default; the loss is read
after every step for the progress bar. Its trackers, checkpoints and sample images are left out, in its favour.
Otherwise in ours: uint8 pixels at hand, fused AdamW, `foreach` averaging, random numbers that are functions of the
step, and the loss read every 20 steps, as `diffusion.training.job` does. Where `datasets` is not installed the recipe
decodes its PNGs without that table, in its favour. ``python benchmarks/on_gpu.py`` runs this race on a GPU, in parts.
"""

import argparse
import math
import os
import platform
import random
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import torch

from diffusers_recipe import STRATEGY, Case, Recipe, new_accelerator
from diffusion.cost.throughput import Speed, device_name, measure_matmul
from diffusion.settings import Precision, TrainJob
from diffusion.spec import UNetSpec
from diffusion.training.trainer import Trainer

LOG_STEPS = 20  # the product's default
WARMUP_STEPS = 3  # of each contestant, before any is timed; the compiled ones compile in them
FEWEST_TURNS = 2  # without which there are no quartiles


CPU_CASES = {
    "ddpm": Case("b128-n2-m1.2.2.2-a0100", 32, 3, batch_size=8, steps_a_turn=1, num_images=2048),
    "small": Case("b16-n1-m1.2.2.2-a0100", 8, 1, batch_size=128, steps_a_turn=20, num_images=1408),
}
CUDA_CASES = {
    "ddpm": Case("b128-n2-m1.2.2.2-a0100", 32, 3, batch_size=128, steps_a_turn=20, num_images=8192),
    "small": Case("b16-n1-m1.2.2.2-a0100", 8, 1, batch_size=128, steps_a_turn=50, num_images=1408),
}


@dataclass(frozen=True)
class How:
    """Whose step, and how it computes."""

    who: Literal["recipe", "ours"]
    precision: Precision = "fp32"
    channels_last: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        layout, compiled = " channels_last" * self.channels_last, " compiled" * self.compiled
        return f"{self.who} {self.precision}{layout}{compiled}"


@dataclass
class Contestant:
    """Somebody's steps, and how long they took."""

    how: How
    steps: Iterator[None]
    warmup_seconds: float = 0.0
    seconds_a_step: list[float] = field(default_factory=list)  # one entry a turn

    @property
    def seconds(self) -> float:
        return statistics.median(self.seconds_a_step)


def our_steps(case: Case, threads: int, **how: Any) -> Iterator[None]:
    """The product's loop, reading the loss as often as the product does."""
    job = TrainJob(
        spec=UNetSpec.parse(case.spec), settings=case.settings, seed=0, threads=threads, data_fingerprint="benchmark",
        strategy=STRATEGY.model_copy(update={"batch_size": case.batch_size}),
        data_folder=Path("unused"), run_folder=Path("unused"), **how,
    )  # fmt: skip
    trainer = Trainer(job, case.images(), new_accelerator(job.precision))
    for report in trainer.steps():
        if report.step % LOG_STEPS == 0:
            float(report.loss)
        yield


def entrants(device: str, compiled: bool) -> list[How]:
    """Who takes part: on a GPU also bf16, and the layout that suits its convolutions."""
    precisions: list[Precision] = ["fp32"] if device == "cpu" else ["fp32", "bf16"]
    layouts = [False] if device == "cpu" else [False, True]
    ours = [How("ours", precision, layout) for precision in precisions for layout in layouts]
    found = [*(How("recipe", precision) for precision in precisions), *ours]
    return found + [replace(how, compiled=True) for how in ours if compiled]


def contestant(case: Case, how: How, threads: int) -> Contestant:
    """One of them, who has not begun yet."""
    if how.who == "recipe":
        return Contestant(how, Recipe(case, how.precision).steps())
    same = {"precision": how.precision, "channels_last": how.channels_last, "compiled": how.compiled}
    return Contestant(how, our_steps(case, threads, **same))


def warm_up(runner: Contestant, device: str) -> None:
    """Its first steps, in which kernels are chosen and networks compiled."""
    runner.warmup_seconds = timed(runner.steps, WARMUP_STEPS, device)


def race(runners: list[Contestant], turns: int, steps_a_turn: int, device: str, until: float = math.inf) -> None:
    """All take turns, in another order each time; after two turns none begins later than `until` (monotonic)."""
    order = random.Random(0)
    for turn in range(turns):
        if turn >= FEWEST_TURNS and time.monotonic() > until:
            break
        for runner in order.sample(runners, len(runners)):
            runner.seconds_a_step.append(timed(runner.steps, steps_a_turn, device) / steps_a_turn)


def timed(steps: Iterator[None], number: int, device: str) -> float:
    """Seconds for so many steps, to the end of the device's work."""
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    for _ in range(number):
        next(steps)
    wait()
    return time.perf_counter() - started


def report(case: Case, runners: list[Contestant], peaks: dict[Precision, float]) -> None:
    """One line for each: images a second, ratios turn by turn, the share of the peak, and what compiling costs."""
    recipes = [runner for runner in runners if runner.how.who == "recipe"]
    eager = {runner.how: runner for runner in runners if not runner.how.compiled}
    for runner in runners:
        how, share = runner.how, peak_share(case, runner, peaks)
        print(
            f"  {how!s:<33} {case.batch_size / runner.seconds:>10,.1f} images/s  "
            f"{1000 * runner.seconds:>9,.2f} ms a step  {share:>6.1%} of the {how.precision} peak"
        )
        for recipe in [] if runner in recipes else recipes:
            low, middle, high = speed_ratio(runner, recipe)
            print(f"      {middle:.3f} × {recipe.how} (quartiles {low:.3f} to {high:.3f})")
        if how.compiled:
            print(f"      {break_even(runner, eager[replace(how, compiled=False)])}")


def peak_share(case: Case, runner: Contestant, peaks: dict[Precision, float]) -> float:
    """The share of the measured matmul peak that its steps reach."""
    peak = peaks[runner.how.precision]
    return Speed(case.macs_total, case.batch_size, peak).flops_per_second(runner.seconds) / peak


def speed_ratio(runner: Contestant, other: Contestant) -> tuple[float, float, float]:
    """How many times as fast as another, turn by turn: lower quartile, median, upper quartile."""
    pairs = zip(other.seconds_a_step, runner.seconds_a_step, strict=True)
    low, middle, high = statistics.quantiles([theirs / ours for theirs, ours in pairs], n=4, method="inclusive")
    return low, middle, high


def break_even(compiled: Contestant, eager: Contestant) -> str:
    """From how many steps on compiling pays."""
    warmup = compiled.warmup_seconds - WARMUP_STEPS * compiled.seconds
    saved = eager.seconds - compiled.seconds
    steps = f"pays from {warmup / saved:,.0f} steps on" if saved > 0 else "never pays"
    return f"warm-up {warmup:.1f} s, {1000 * saved:.2f} ms saved a step: {steps}"


def chosen_cases(arguments: argparse.Namespace, device: str) -> dict[str, Case]:
    """The cases that were asked for, in the sizes that were asked for."""
    chosen = {}
    for name, case in (CUDA_CASES if device == "cuda" else CPU_CASES).items():
        size = arguments.batch_size or case.batch_size
        if arguments.case in (name, "both"):
            chosen[name] = replace(
                case,
                batch_size=size,
                steps_a_turn=arguments.steps or case.steps_a_turn,
                num_images=max(1, case.num_images // size) * size,
            )
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["ddpm", "small", "both"], default="both")
    parser.add_argument(
        "--turns", type=int, default=15, help=f"how often everybody's turn comes, at least {FEWEST_TURNS}"
    )
    parser.add_argument("--steps", type=int, help="steps a turn; the case's own by default")
    parser.add_argument("--batch-size", type=int, help="the case's own by default")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    threads = arguments.threads
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precisions: list[Precision] = ["fp32", "bf16"] if device == "cuda" else ["fp32"]
    print(f"{date.today()}, {device_name(device)}, {platform.machine()}, {threads} threads, {os.cpu_count()} cores,")
    print(f"Python {platform.python_version()}, torch {torch.__version__}: python {shlex.join(sys.argv)}")
    for name, case in chosen_cases(arguments, device).items():
        before = [measure_matmul(device, threads, precision) for precision in precisions]
        runners = [contestant(case, how, threads) for how in entrants(device, arguments.compile)]
        for runner in runners:
            warm_up(runner, device)
        race(runners, arguments.turns, case.steps_a_turn, device)
        after = [measure_matmul(device, threads, precision) for precision in precisions]
        peaks = dict(zip(precisions, map(max, before, after), strict=True))
        print(f"{name}: {case.spec} at {case.resolution}×{case.resolution}×{case.channels}, batch {case.batch_size}")
        print("  matmul peak: " + ", ".join(f"{peak / 1e9:,.0f} GFLOP/s in {one}" for one, peak in peaks.items()))
        report(case, runners, peaks)


if __name__ == "__main__":
    main()
