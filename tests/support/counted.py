"""The second independent count of a network, beside fvcore's: torch's own."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from diffusion.settings import Family, Settings
from diffusion.spec import UNetSpec
from diffusion.unet import build_unet


def meta_count(spec: UNetSpec, family: Family, resolution: int, channels: int) -> dict[str, int]:
    """Parameters and total MACs by torch's own counter on the meta device, where fused attention is counted as well."""
    settings = Settings(dataset="none", resolution=resolution, channels=channels, family=family)
    with torch.device("meta"):
        model = build_unet(spec, settings).eval()
        images, steps = torch.zeros(1, channels, resolution, resolution), torch.zeros(1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images, steps)
    return {
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "macs_total": counter.get_total_flops() // 2,  # torch counts a multiply and an add
    }
