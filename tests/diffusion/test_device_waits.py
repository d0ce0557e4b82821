"""Nothing that runs at every step waits for the device, seen on the meta device.

There a number that is read back raises, and each copy from the CPU that would wait for what a GPU still computes is
counted: a `Tensor.to` without ``non_blocking``.
"""

from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from torch.overrides import TorchFunctionMode

from diffusion.process import NoiseProcess
from diffusion.samplers import sample_tensors
from diffusion.settings import Family, Sampler, Settings, choose_sampling
from diffusion.spec import UNetSpec
from diffusion.training.losses import training_loss
from diffusion.unet import build_unet

SPEC = UNetSpec.parse("b4-n1-m1.2.2.2-a0100")
META = torch.device("meta")


class Waits(TorchFunctionMode):
    """Counts the copies from the CPU to the device that wait."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is torch.Tensor.to and args[0].device.type == "cpu" and found.device == META:
            self.count += not (kwargs or {}).get("non_blocking")
        return found


def settings(family: Family = "ddpm") -> Settings:
    return Settings(dataset="none", resolution=8, channels=1, family=family)


def test_a_copy_that_waits_is_seen() -> None:
    with Waits() as waits:
        torch.ones(2).to(META, non_blocking=True)
        torch.ones(2).to(META)
    assert waits.count == 1


@pytest.mark.parametrize("family", get_args(Family))
def test_no_loss_waits(family: Family) -> None:
    channels = 2 if family == "iddpm" else 1

    def model(noisy: torch.Tensor, steps: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=noisy.repeat(1, channels, 1, 1))

    images, noise = (torch.zeros(3, 1, 8, 8, device=META) for _ in range(2))
    process, steps = NoiseProcess.make("linear", 50), torch.tensor([0, 7, 49])
    with Waits() as waits:
        training_loss(process, family, model, images, noise, steps)  # type: ignore[arg-type]
    assert waits.count == 0


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++"])
def test_a_sampling_waits_for_its_first_noise_alone(sampler: Sampler) -> None:
    with META:
        model = build_unet(SPEC, settings())
    with Waits() as waits:
        sample_tensors(
            model, settings(), choose_sampling(sampler, 5, "ddpm", 50), diffusion_steps=50, indices=range(2), seed=0,
            device=META,
        )  # fmt: skip
    assert waits.count == 1
