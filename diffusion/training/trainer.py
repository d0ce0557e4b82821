"""The training loop on accelerate: a generator that yields after every step and leaves logging and saving to others.

Every random number is a function of (seed, purpose, step), so a training restored at step s goes on exactly as if it
had never stopped. Learning-rate warm-up and the horizon of the EMA depend on the current step alone: a checkpoint at
step s of a long training equals a training of s steps. Each step draws one global batch, of which every process takes
its share, at once or in micro batches; the gradient is the mean over the global batch however it is divided. Nothing
is printed or written here, and nothing in the loop waits for a GPU.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from diffusion.data.pictures import Values
from diffusion.distill.losses import Drawn, joint_loss
from diffusion.process import NoiseProcess, to_model
from diffusion.settings import TrainJob
from diffusion.streams import Order, generator, stream_seed
from diffusion.training.losses import training_loss
from diffusion.training.network import first_network, teacher_of

RESIDENT_SHARE = 0.5  # of a GPU's free memory that the data set may take; the rest is for the step
UPLOAD_IMAGES = 4096  # copied to a GPU at once, so that the host never holds the data set


@dataclass(frozen=True)
class StepReport:
    """What one step left behind. `loss` stays on the device; reading it waits for the step."""

    step: int  # steps done
    loss: Tensor  # (), of this process: the mean over the processes is that of the global batch
    images_seen: int


class Average:
    """The exponential moving average of parameters, bit for bit that of `diffusers.training_utils.EMAModel`.

    With s updates before this one its decay is 0 at s = 0, then min(decay, (1 + s) / (10 + s)).
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.parameters, self.decay = list(parameters), decay
        self.tensors = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, updates_before: int) -> None:
        """Move towards the parameters."""
        horizon = (1 + updates_before) / (10 + updates_before)  # 10: EMAModel's
        decay = min(self.decay, horizon) if updates_before else 0.0
        apart = torch._foreach_sub(self.tensors, self.parameters)
        torch._foreach_sub_(self.tensors, apart, alpha=1 - decay)


class ImageSource:
    """The training images: on a GPU that has room for them, else where they are mapped; never twice."""

    def __init__(self, images: Values, device: torch.device) -> None:
        """`images` are (N,C,H,W)."""
        self.images, self.device = np.asarray(images), device
        self.resident = upload(self.images, device) if has_room(self.images.nbytes, device) else None

    def take(self, indices: NDArray[np.int64], flips: Tensor | None) -> Tensor:
        """Images in the model's range, on the device, mirrored where asked.  (n,), (n,) bool → (n,C,H,W)"""
        if self.resident is None:
            pixels = to_device(torch.from_numpy(self.images[indices]), self.device)  # (n,C,H,W)
        else:
            pixels = self.resident[to_device(torch.from_numpy(indices), self.device)]  # (n,C,H,W)
        images = to_model(pixels)
        if flips is not None:
            images = torch.where(to_device(flips, self.device).view(-1, 1, 1, 1), images.flip(-1), images)
        return images


def has_room(num_bytes: int, device: torch.device) -> bool:
    """Whether a data set is to lie on the device; a CPU reads the map itself."""
    return device.type == "cuda" and num_bytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def upload(images: Values, device: torch.device) -> Tensor:
    """A copy on the device, made piece by piece.  (N,C,H,W)"""
    resident = torch.empty(images.shape, dtype=torch.from_numpy(images[:0].copy()).dtype, device=device)
    for start in range(0, len(images), UPLOAD_IMAGES):
        piece = np.array(images[start : start + UPLOAD_IMAGES])  # a map is read-only, which torch warns of
        resident[start : start + UPLOAD_IMAGES].copy_(torch.from_numpy(piece))
    return resident


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """To the device without waiting for what it still computes."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)


class Trainer:
    """One job: its network, averaged weights and optimiser, and the loop over its steps."""

    def __init__(self, job: TrainJob, images: Values, accelerator: Accelerator) -> None:
        """`images` are the training images, uint8 or latents.  (N,C,H,W)"""
        strategy = job.strategy
        self.job, self.accelerator, self.device = job, accelerator, accelerator.device
        self.rank, self.world_size = accelerator.process_index, accelerator.num_processes
        self.micro_batch_size = job.micro_batch_size or strategy.batch_size
        self.process = NoiseProcess.make(job.settings.schedule, strategy.diffusion_steps)
        self.order = Order(job.seed, len(images))
        self.images = ImageSource(images, self.device)
        self.memory_format = torch.channels_last if job.channels_last else torch.contiguous_format
        self.network: Any = first_network(job)
        self.network.to(self.device, memory_format=self.memory_format)
        learns = job.student is not None and job.student.loss.needs_teacher
        self.teacher = teacher_of(job.student).to(self.device) if job.student and learns else None
        self.names = [name for name, _ in self.network.named_parameters()]
        self.parameters = list(self.network.parameters())
        self.average = Average(self.parameters, strategy.ema_decay)
        decay = strategy.weight_decay or 0.0
        self.optimizer = torch.optim.AdamW(self.parameters, strategy.learning_rate, weight_decay=decay, fused=True)
        if job.compiled:
            self.network.compile(mode="default", dynamic=False)  # in place, so no name changes
        self.model = accelerator.prepare(self.network)  # mixed precision, and one network of several processes
        self.step = 0

    def steps(self) -> Iterator[StepReport]:
        """Train from the current step to the last of the job; yields after every step."""
        batch_size = self.job.strategy.batch_size
        self.model.train()
        while self.step < self.job.last_step:
            loss = self._update(*self._batch())
            self.step += 1
            yield StepReport(self.step, loss, self.step * batch_size)

    def dry_step(self) -> None:
        """Take the memory of a step, Adam's moments included, and leave everything as it was.

        Raises:
            torch.OutOfMemoryError: the device has less.
        """
        moments = [] if self.optimizer.state else [torch.empty_like(one) for one in self.parameters for _ in range(2)]
        self.model.train()
        try:
            pieces = [tensor[: self.micro_batch_size] for tensor in self._batch()]
            with self.accelerator.no_sync(self.model):
                torch.autograd.backward(self._loss(*pieces))
        finally:
            moments.clear()
            self.optimizer.zero_grad(set_to_none=True)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """This process's share of the step's global batch: images, noise and steps.  (n,C,H,W), (n,C,H,W), (n,)

        Everything is drawn on the CPU for the whole batch. The steps stay there, where the tables of the process lie.
        """
        job, batch_size = self.job, self.job.strategy.batch_size
        draws = generator(job.seed, "noise", self.step)
        steps = torch.randint(self.process.diffusion_steps, (batch_size,), generator=draws)  # (B,)
        noise = torch.randn((batch_size, *self.images.images.shape[1:]), generator=draws)  # (B,C,H,W)
        flips = torch.rand(batch_size, generator=draws) < 0.5 if job.settings.horizontal_flips else None  # (B,)
        indices = self.order.batch(self.step, batch_size)
        mine = slice(self.rank, None, self.world_size)
        images = self.images.take(indices[mine], None if flips is None else flips[mine])
        noise = to_device(noise[mine], self.device)
        if job.channels_last:
            images, noise = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (images, noise))
        return images, noise, steps[mine]

    def _update(self, images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """One optimiser step (Ho et al. 2020, Algorithm 1); the loss before it.  → ()"""
        strategy = self.job.strategy
        for group in self.optimizer.param_groups:
            group["lr"] = strategy.learning_rate * min(1.0, (self.step + 1) / max(1, strategy.warmup_steps))
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(images, noise, steps)
        clip_grad_norm_(self.parameters, strategy.gradient_clip, foreach=True)
        self.optimizer.step()
        self.average.update(self.step)
        return loss

    def _gradients(self, images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Leave the gradient of the global batch's mean; this process's loss.  → ()

        Processes average their gradients, so a piece of n images of a batch of B over W processes weighs n W / B.
        """
        size = self.micro_batch_size
        pieces = list(zip(*(torch.split(tensor, size) for tensor in (images, noise, steps)), strict=True))
        losses = []
        for index, piece in enumerate(pieces):
            weight = len(piece[0]) * self.world_size / self.job.strategy.batch_size
            is_last = index == len(pieces) - 1
            with nullcontext() if is_last else self.accelerator.no_sync(self.model):
                self._seed_dropout(index)
                loss = self._loss(*piece)
                loss = loss if weight == 1 else loss * weight
                torch.autograd.backward(loss)
            losses.append(loss.detach())
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _loss(self, images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """The mean loss of some images.  (n,C,H,W), (n,C,H,W), (n,) → ()"""
        model: Any = self.model if self.device.type == "cpu" else self._on_device
        family, student = self.job.settings.family, self.job.student
        total = self.job.strategy.train_steps
        if student is None or self.teacher is None or student.loss.is_noise_alone(self.step, total):
            return training_loss(self.process, family, model, images, noise, steps)
        beta, drawn = student.loss.beta(self.step, total), Drawn(images, noise, steps)
        return joint_loss(self.process, family, self.teacher, self.network, drawn, student.loss, beta, model).loss

    def _on_device(self, noisy: Tensor, steps: Tensor) -> Any:
        """The network, given steps on the CPU.  (n,C,H,W), (n,)"""
        return self.model(noisy, steps.to(self.device, non_blocking=True))

    def _seed_dropout(self, piece: int) -> None:
        if self.job.strategy.dropout:
            parts = (self.step, self.rank, piece) if piece else (self.step, self.rank)
            torch.manual_seed(stream_seed(self.job.seed, "dropout", *parts))

    def state(self) -> dict[str, Tensor]:
        """All state of the training, by name: the tensors themselves, which the next step changes."""
        state: dict[str, Tensor] = {
            f"model.{name}": parameter.detach() for name, parameter in zip(self.names, self.parameters, strict=True)
        }
        state |= {f"ema.{name}": average for name, average in zip(self.names, self.average.tensors, strict=True)}
        for index, entries in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{index}.{key}": value for key, value in entries.items()}
        return state

    def tensors(self) -> dict[str, Tensor]:
        """A copy of all state, by name, on the CPU."""
        return {name: tensor.to("cpu", copy=True) for name, tensor in self.state().items()}

    def is_finite(self) -> bool:
        """Whether every number of the state is finite."""
        return bool(torch.stack([tensor.isfinite().all() for tensor in self.state().values()]).all())

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Take up the state that `tensors` returned at `step`."""
        for name, parameter, average in zip(self.names, self.parameters, self.average.tensors, strict=True):
            parameter.copy_(tensors[f"model.{name}"])
            average.copy_(tensors[f"ema.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                index, _, key = rest.partition(".")
                place = torch.empty_like(self.parameters[int(index)] if tensor.dim() else tensor)
                state.setdefault(int(index), {})[key] = place.copy_(tensor)  # laid out in memory as the weights are
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.step = step
