"""The second opinion on the closed form: the real network, counted with fvcore.

Slow (seconds) and with torch; the search itself never needs it.
"""

import warnings
from typing import Any

import torch

from diffusion.settings import Family, Settings
from diffusion.spec import UNetSpec
from diffusion.unet import build_unet

PAPER_OPERATORS = ("conv", "linear", "addmm")  # fvcore's names for convolutions and linear layers


def fvcore_count(spec: UNetSpec, family: Family, resolution: int, channels: int) -> dict[str, int]:
    """Parameters, and MACs of convolutions and linear layers, of the built network in one forward pass on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # fvcore scripts its counters with torch.jit when imported
        from fvcore.nn import FlopCountAnalysis

    settings = Settings(dataset="none", resolution=resolution, channels=channels, family=family)
    model: torch.nn.Module = build_unet(spec, settings).eval()
    one = (torch.zeros(1, channels, resolution, resolution), torch.zeros(1))  # an image and a step: (1,C,R,R), (1,)
    analysis: Any = FlopCountAnalysis(model, one)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    operators = analysis.by_operator()
    return {
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "macs_paper": int(sum(operators[name] for name in PAPER_OPERATORS)),
    }
