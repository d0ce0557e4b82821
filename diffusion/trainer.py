"""The training loop on accelerate: a generator that yields after every step and leaves logging and saving to others.

Every random number is a function of (seed, purpose, step), so a training restored at step s goes on exactly as if it
had never stopped. Learning-rate warm-up and the horizon of the EMA depend on the current step alone: a checkpoint at
step s of a long training equals a training of s steps. Nothing is printed or written here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from numpy.typing import NDArray
from torch import Tensor

from diffusion.losses import training_loss
from diffusion.process import NoiseProcess, to_model
from diffusion.settings import TrainJob
from diffusion.streams import Order, generator, stream_seed
from diffusion.unet import build_unet


@dataclass(frozen=True)
class StepReport:
    """What one step left behind. `loss` stays on the device; reading it waits for the step."""

    step: int  # steps done
    loss: Tensor  # ()
    images_seen: int


class Trainer:
    """One job: its network, averaged weights and optimiser, and the loop over its steps."""

    def __init__(self, job: TrainJob, images: NDArray[np.uint8], accelerator: Accelerator) -> None:
        """`images` are the training images, uint8.  (N,C,H,W)"""
        strategy = job.strategy
        self.job, self.images, self.accelerator = job, images, accelerator
        self.process = NoiseProcess.make(job.settings.schedule, strategy.diffusion_steps)
        self.order = Order(job.seed, len(images))
        torch.manual_seed(stream_seed(job.seed, "init"))
        model = build_unet(job.spec, job.settings, strategy.dropout)
        self.names = [name for name, _ in model.named_parameters()]
        model.to(accelerator.device)
        self.ema = EMAModel(model.parameters(), decay=strategy.ema_decay, foreach=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=strategy.learning_rate, weight_decay=0.0, fused=True)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.step = 0

    def steps(self) -> Iterator[StepReport]:
        """Train from the current step to the last; yields after every step."""
        batch_size = self.job.strategy.batch_size
        self.model.train()
        while self.step < self.job.strategy.train_steps:
            loss = self._update(*self._batch())
            self.step += 1
            yield StepReport(self.step, loss, self.step * batch_size)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """This process's share of the step's global batch: images, noise and steps.  (n,C,H,W), (n,C,H,W), (n,)"""
        job, step = self.job, self.step
        indices = self.order.batch(step, job.strategy.batch_size)
        images = to_model(torch.from_numpy(self.images[indices]))  # (B,C,H,W)
        draws = generator(job.seed, "noise", step)
        steps = torch.randint(self.process.diffusion_steps, (len(images),), generator=draws)  # (B,)
        noise = torch.randn(images.shape, generator=draws)  # (B,C,H,W)
        if job.settings.horizontal_flips:
            flips = torch.rand(len(images), generator=draws) < 0.5  # (B,)
            images = torch.where(flips.view(-1, 1, 1, 1), images.flip(-1), images)
        rank, world_size = self.accelerator.process_index, self.accelerator.num_processes
        mine = slice(rank, None, world_size)
        device = self.accelerator.device
        return images[mine].to(device), noise[mine].to(device), steps[mine].to(device)

    def _update(self, images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """One optimiser step (Ho et al. 2020, Algorithm 1); the loss before it.  → ()"""
        strategy, family = self.job.strategy, self.job.settings.family
        torch.manual_seed(stream_seed(self.job.seed, "dropout", self.step, self.accelerator.process_index))
        for group in self.optimizer.param_groups:
            group["lr"] = strategy.learning_rate * min(1.0, (self.step + 1) / max(1, strategy.warmup_steps))
        loss = training_loss(self.process, family, self.model, images, noise, steps)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), strategy.gradient_clip)
        self.optimizer.step()
        self.ema.step(self.model.parameters())
        return loss.detach()

    def tensors(self) -> dict[str, Tensor]:
        """All state of the training, by name, on the CPU."""
        model = self.accelerator.unwrap_model(self.model)
        state = {f"model.{name}": parameter for name, parameter in model.named_parameters()}
        state |= {f"ema.{name}": average for name, average in zip(self.names, self.ema.shadow_params, strict=True)}
        for index, entries in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{index}.{key}": value for key, value in entries.items()}
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Take up the state that `tensors` returned at `step`."""
        model = self.accelerator.unwrap_model(self.model)
        model.load_state_dict({name: tensors[f"model.{name}"] for name in self.names})
        for average, name in zip(self.ema.shadow_params, self.names, strict=True):
            average.copy_(tensors[f"ema.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                index, _, key = rest.partition(".")
                state.setdefault(int(index), {})[key] = tensor.clone()  # the optimiser takes it over
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.ema.optimization_step = self.step = step
