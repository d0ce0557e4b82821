"""Small teachers, and what torch counts of a built network."""

import random
from typing import Any

import torch
from diffusers import UNet2DModel
from torch.utils.flop_counter import FlopCounterMode

from diffusion.distill.costs import StudentCost
from diffusion.distill.units import Choice, Unit
from diffusion.settings import Family, Settings
from diffusion.spec import UNetSpec
from diffusion.unet import build_unet

SIDE = 16


def teacher(text: str, family: Family = "ddpm", *, channels: int = 1, side: int = SIDE) -> UNet2DModel:
    """The network of a spec, with weights that are nowhere zero."""
    settings = Settings(dataset="none", resolution=side, channels=channels, family=family)
    torch.manual_seed(0)
    model = build_unet(UNetSpec.parse(text), settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def random_choices(units: list[Unit], seed: int) -> dict[str, Choice]:
    """One choice of each unit, uniformly."""
    rng = random.Random(seed)
    return {unit.name: rng.choice(unit.choices()) for unit in units}


def counted(model: Any) -> StudentCost:
    """Parameters and MACs of one image by torch's own counter: attention's products are the fused operator's."""
    images = torch.zeros(1, model.config["in_channels"], model.config["sample_size"], model.config["sample_size"])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images, torch.zeros(1))
    by_operator = {str(name): flops // 2 for name, flops in counter.get_flop_counts()["Global"].items()}
    total = sum(by_operator.values())
    attention = sum(macs for name, macs in by_operator.items() if "attention" in name or "bmm" in name)
    return StudentCost(sum(each.numel() for each in model.parameters()), total - attention, total)
