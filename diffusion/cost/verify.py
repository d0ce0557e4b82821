"""The second opinion on the closed form: the real network, counted with fvcore or with torch on the meta device.

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

    model = _built(spec, family, resolution, channels)
    analysis: Any = FlopCountAnalysis(model, _inputs(resolution, channels, "cpu"))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    operators = analysis.by_operator()
    return {
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "macs_paper": int(sum(operators[name] for name in PAPER_OPERATORS)),
    }


def meta_count(spec: UNetSpec, family: Family, resolution: int, channels: int) -> dict[str, int]:
    """Parameters and total MACs by torch's own counter on the meta device, where fused attention is counted as well."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = _built(spec, family, resolution, channels)
        inputs = _inputs(resolution, channels, "meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return {
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "macs_total": counter.get_total_flops() // 2,  # torch counts a multiply and an add
    }


def _built(spec: UNetSpec, family: Family, resolution: int, channels: int) -> torch.nn.Module:
    settings = Settings(dataset="none", resolution=resolution, channels=channels, family=family)
    model: torch.nn.Module = build_unet(spec, settings)
    return model.eval()


def _inputs(resolution: int, channels: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """One image and one step.  (1,C,R,R), (1,)"""
    return torch.zeros(1, channels, resolution, resolution, device=device), torch.zeros(1, device=device)
