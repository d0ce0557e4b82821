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
step, and the loss read every 20 steps, as `diffusion.training.job` does.
"""

import argparse
import io
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
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import mse_loss
from tqdm import tqdm  # type: ignore[import-untyped]

from diffusion.cost.closed_form import cost
from diffusion.cost.throughput import Speed, device_name, measure_matmul
from diffusion.settings import Precision, Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec
from diffusion.training.trainer import Trainer
from diffusion.unet import unet_arguments

LOG_STEPS = 20  # the product's default
WARMUP_STEPS = 3  # of each contestant, before any is timed; the compiled ones compile in them


@dataclass(frozen=True)
class Case:
    """What both train."""

    spec: str
    resolution: int
    channels: int
    batch_size: int
    steps_a_turn: int
    num_images: int  # a multiple of the batch size: every batch is full

    @property
    def settings(self) -> Settings:
        return Settings(dataset="benchmark", resolution=self.resolution, channels=self.channels)

    @property
    def macs_total(self) -> int:
        return cost(UNetSpec.parse(self.spec), "ddpm", self.resolution, self.channels).macs.total

    def images(self) -> NDArray[np.uint8]:
        """Noise: no step takes longer or shorter for what is on the images.  (N,C,R,R)"""
        shape = (self.num_images, self.channels, self.resolution, self.resolution)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


CPU_CASES = {
    "ddpm": Case("b128-n2-m1.2.2.2-a0100", 32, 3, batch_size=8, steps_a_turn=1, num_images=2048),
    "small": Case("b16-n1-m1.2.2.2-a0100", 8, 1, batch_size=128, steps_a_turn=20, num_images=1408),
}
CUDA_CASES = {
    "ddpm": Case("b128-n2-m1.2.2.2-a0100", 32, 3, batch_size=128, steps_a_turn=20, num_images=8192),
    "small": Case("b16-n1-m1.2.2.2-a0100", 8, 1, batch_size=128, steps_a_turn=50, num_images=1408),
}
STRATEGY = Strategy(learning_rate=1e-4, dropout=0.1, warmup_steps=500, train_steps=10**7)  # 1e-4, 500: the recipe's


@dataclass
class Contestant:
    """Somebody's steps, and how long they took."""

    name: str
    precision: Precision
    steps: Iterator[None]
    compiled: bool = False
    warmup_seconds: float = 0.0
    seconds_a_step: list[float] = field(default_factory=list)  # one entry a turn

    @property
    def seconds(self) -> float:
        return statistics.median(self.seconds_a_step)


class Recipe:
    """The official recipe, told in our words, for images of any number of channels."""

    def __init__(self, case: Case, precision: Precision = "fp32") -> None:
        self.accelerator = new_accelerator(precision)
        self.weight_type = torch.bfloat16 if precision == "bf16" else torch.float32
        model = UNet2DModel(**unet_arguments(UNetSpec.parse(case.spec), case.settings, STRATEGY.dropout))
        self.ema = EMAModel(
            model.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=3 / 4,
            model_cls=UNet2DModel, model_config=model.config,
        )  # fmt: skip
        self.scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear", prediction_type="epsilon")
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
        )  # the recipe's own defaults
        loader = torch.utils.data.DataLoader(image_table(case), batch_size=case.batch_size, shuffle=True, num_workers=0)
        rates = get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=len(loader) * 100)
        self.model, self.optimizer, self.loader, self.rates = self.accelerator.prepare(model, optimizer, loader, rates)
        self.ema.to(self.accelerator.device)

    def loss(self, images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """The error of the predicted noise.  (N,C,H,W), (N,C,H,W), (N,) → ()"""
        noisy = self.scheduler.add_noise(images, noise, steps)
        return mse_loss(self.model(noisy, steps).sample.float(), noise.float())

    def update(self, images: Tensor) -> dict[str, float]:
        """One step on a batch; what the progress bar shows of it.  (N,C,H,W)"""
        device, accelerator = images.device, self.accelerator
        noise = torch.randn(images.shape, dtype=self.weight_type, device=device)
        steps = torch.randint(0, self.scheduler.config.num_train_timesteps, (len(images),), device=device).long()
        with accelerator.accumulate(self.model):
            loss = self.loss(images, noise, steps)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.rates.step()
            self.optimizer.zero_grad()
        if accelerator.sync_gradients:
            self.ema.step(self.model.parameters())
        return {
            "loss": loss.detach().item(), "lr": self.rates.get_last_lr()[0], "ema_decay": self.ema.cur_decay_value,
        }  # fmt: skip

    def steps(self) -> Iterator[None]:
        """Epoch after epoch, without end."""
        with open(os.devnull, "w") as nowhere:
            for epoch in count():
                self.model.train()
                bar = tqdm(total=len(self.loader), desc=f"Epoch {epoch}", file=nowhere)
                for batch in self.loader:
                    logs = self.update(batch["input"].to(self.weight_type))
                    bar.update(1)
                    bar.set_postfix(**logs)
                    self.accelerator.log(logs)
                    yield
                bar.close()


def image_table(case: Case) -> Any:
    """The images as PNG in a table of `datasets`, with the recipe's transforms (no crop and no flip at these sizes)."""
    import datasets
    from PIL import Image
    from torchvision import transforms

    mode = "L" if case.channels == 1 else "RGB"  # the recipe has "RGB" alone

    def png(pixels: NDArray[np.uint8]) -> dict[str, bytes]:
        buffer = io.BytesIO()
        Image.fromarray(pixels.transpose(1, 2, 0).squeeze()).save(buffer, "png")  # (C,R,R) → (R,R,C) or (R,R)
        return {"bytes": buffer.getvalue()}

    augment = transforms.Compose(
        [
            transforms.Resize(case.resolution, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.RandomCrop(case.resolution),
            transforms.Lambda(lambda image: image),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )
    table = datasets.Dataset.from_dict({"image": [png(pixels) for pixels in case.images()]})
    table = table.cast_column("image", datasets.Image())
    table.set_transform(lambda rows: {"input": [augment(image.convert(mode)) for image in rows["image"]]})
    return table


def new_accelerator(precision: Precision) -> Accelerator:
    """An accelerator of its own precision; without the reset a second one may not differ from the first."""
    AcceleratorState._reset_state(reset_partial_state=False)
    return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")


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


def contestants(case: Case, device: str, threads: int, compiled: bool) -> list[Contestant]:
    """Who takes part: on a GPU also bf16, with what makes it fast."""
    found = [
        Contestant("recipe fp32", "fp32", Recipe(case).steps()),
        Contestant("ours fp32", "fp32", our_steps(case, threads)),
    ]
    if compiled:
        found.append(Contestant("ours fp32 compiled", "fp32", our_steps(case, threads, compiled=True), compiled=True))
    if device == "cpu":
        return found
    fast = {"precision": "bf16", "channels_last": True}
    found += [
        Contestant("recipe bf16", "bf16", Recipe(case, "bf16").steps()),
        Contestant("ours bf16 channels_last", "bf16", our_steps(case, threads, **fast)),
    ]
    if compiled:
        steps = our_steps(case, threads, **fast, compiled=True)
        found.append(Contestant("ours bf16 channels_last compiled", "bf16", steps, compiled=True))
    return found


def race(runners: list[Contestant], turns: int, steps_a_turn: int, device: str) -> None:
    """Let everybody warm up, then all take turns, in another order each time."""
    for runner in runners:
        runner.warmup_seconds = timed(runner.steps, WARMUP_STEPS, device)
    order = random.Random(0)
    for _ in range(turns):
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
    recipes = [runner for runner in runners if runner.name.startswith("recipe")]
    eager = {runner.precision: runner for runner in runners if not runner.compiled}  # ours, the last of its precision
    for runner in runners:
        share = Speed(case.macs_total, case.batch_size, peaks[runner.precision]).peak_share(runner.seconds)
        print(
            f"  {runner.name:<33} {case.batch_size / runner.seconds:>10,.1f} images/s  "
            f"{1000 * runner.seconds:>9,.2f} ms a step  {share:>6.1%} of the {runner.precision} peak"
        )
        if runner in recipes:
            continue
        for recipe in recipes:
            pairs = zip(recipe.seconds_a_step, runner.seconds_a_step, strict=True)
            low, middle, high = statistics.quantiles([theirs / ours for theirs, ours in pairs], n=4, method="inclusive")
            print(f"      {middle:.3f} × {recipe.name} (quartiles {low:.3f} to {high:.3f})")
        if runner.compiled:
            print(f"      {break_even(runner, eager[runner.precision])}")


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
    parser.add_argument("--turns", type=int, default=15, help="how often everybody's turn comes, at least 2")
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
        runners = contestants(case, device, threads, arguments.compile)
        race(runners, arguments.turns, case.steps_a_turn, device)
        after = [measure_matmul(device, threads, precision) for precision in precisions]
        peaks = dict(zip(precisions, map(max, before, after), strict=True))
        print(f"{name}: {case.spec} at {case.resolution}×{case.resolution}×{case.channels}, batch {case.batch_size}")
        print("  matmul peak: " + ", ".join(f"{peak / 1e9:,.0f} GFLOP/s in {one}" for one, peak in peaks.items()))
        report(case, runners, peaks)


if __name__ == "__main__":
    main()
