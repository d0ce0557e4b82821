"""The official recipe of diffusers, ``examples/unconditional_image_generation/train_unconditional.py``, its training
loop written out plainly; `train_step` runs it beside ours and says what is the same in both and what is not.
"""

import importlib.util
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
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
from torch.utils.data import Dataset
from tqdm import tqdm  # type: ignore[import-untyped]

from diffusion.cost.closed_form import cost
from diffusion.settings import Precision, Settings, Strategy
from diffusion.spec import UNetSpec
from diffusion.unet import unet_arguments

STRATEGY = Strategy(learning_rate=1e-4, dropout=0.1, warmup_steps=500, train_steps=10**7)  # 1e-4, 500: the recipe's


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


class Decoded(Dataset[Any]):
    """A table without `datasets`: each PNG is decoded when it is asked for."""

    def __init__(self, images: list[bytes], augment: Callable[[Any], Tensor]) -> None:
        self.images, self.augment = images, augment

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        from PIL import Image

        return {"input": self.augment(Image.open(io.BytesIO(self.images[index])))}


def image_table(case: Case) -> Any:
    """The images as PNG in a table of `datasets`, with the recipe's transforms (no crop and no flip at these sizes)."""
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
    images = [png(pixels) for pixels in case.images()]
    if importlib.util.find_spec("datasets") is None:
        return Decoded([image["bytes"] for image in images], lambda image: augment(image.convert(mode)))
    import datasets

    table = datasets.Dataset.from_dict({"image": images})
    table = table.cast_column("image", datasets.Image())
    table.set_transform(lambda rows: {"input": [augment(image.convert(mode)) for image in rows["image"]]})
    return table


def new_accelerator(precision: Precision) -> Accelerator:
    """An accelerator of its own precision; without the reset a second one may not differ from the first."""
    AcceleratorState._reset_state(reset_partial_state=False)
    return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")
