"""The network of a spec: diffusers' `UNet2DModel`, so that what was searched is what is exported.

How a spec becomes a network is written in DESIGN.md, "The network"; `unet_arguments` says it in code, without torch.
"""

from math import gcd
from typing import TYPE_CHECKING, Any

from diffusion.networks import head_width
from diffusion.settings import Settings
from diffusion.spec import UNetSpec

if TYPE_CHECKING:
    from diffusers import UNet2DModel


def norm_groups(spec: UNetSpec, resolution: int) -> int:
    """The largest number of groups ≤ 32 (DDPM's) that divides the channels of every stage.

    At 8×8 the last stage is one pixel, and a group of one channel there would be a single value: normalised to zero,
    and refused by torch for one image. So a group has at least two values at the last stage.
    """
    common, values_per_channel = gcd(*spec.channels), (resolution >> (spec.stages - 1)) ** 2
    narrowest = min(spec.channels[-2:])  # the last stage first sees the channels of the one before
    return next(
        groups for groups in range(32, 0, -1) if common % groups == 0 and narrowest // groups * values_per_channel >= 2
    )


def unet_arguments(spec: UNetSpec, settings: Settings, dropout: float = 0.0) -> dict[str, Any]:
    """The keyword arguments of `UNet2DModel` for a spec of either family."""
    groups = norm_groups(spec, settings.resolution)
    arguments: dict[str, Any] = {
        "sample_size": settings.resolution,
        "in_channels": settings.channels,
        "out_channels": settings.channels,
        "layers_per_block": spec.num_blocks,
        "block_out_channels": spec.channels,
        "down_block_types": tuple("AttnDownBlock2D" if flag else "DownBlock2D" for flag in spec.attn),
        "up_block_types": tuple("AttnUpBlock2D" if flag else "UpBlock2D" for flag in reversed(spec.attn)),
        "mid_block_type": "UNetMidBlock2D",  # always with attention, as DDPM has it
        "norm_num_groups": groups,
        "attn_norm_num_groups": groups,  # without it diffusers drops the middle attention's norm under scale-shift
        "norm_eps": 1e-6,  # Ho et al. 2020, their code
        "downsample_padding": 0,
        "dropout": dropout,
        "attention_head_dim": None,
        "resnet_time_scale_shift": "default",
        "flip_sin_to_cos": False,
        "freq_shift": 1,
    }
    if settings.family == "iddpm":
        arguments |= {
            "out_channels": 2 * settings.channels,  # noise and the interpolation of the log-variance
            "attention_head_dim": head_width(spec),
            "resnet_time_scale_shift": "scale_shift",
            "flip_sin_to_cos": True,
            "freq_shift": 0,
        }
    return arguments


def build_unet(spec: UNetSpec, settings: Settings, dropout: float = 0.0) -> "UNet2DModel":
    """A freshly initialised network: (N, C, R, R) noisy images and (N,) steps → (N, C or 2C, R, R).

    The last convolution of every residual block, every attention output and the final convolution start at zero
    (Ho et al. 2020; Nichol & Dhariwal 2021), so that the untrained network predicts zero.
    """
    from diffusers import UNet2DModel

    model = UNet2DModel(**unet_arguments(spec, settings, dropout))
    close(model)
    return model


def close(model: "UNet2DModel") -> None:
    """Set to zero what ends each residual block and attention, and the last convolution; students may lack some."""
    import torch
    from diffusers.models.attention_processor import Attention
    from diffusers.models.resnet import ResnetBlock2D

    closing: list[torch.nn.Module] = [model.conv_out]
    for module in model.modules():
        if isinstance(module, ResnetBlock2D):
            closing.append(module.conv2)
        elif isinstance(module, Attention):
            closing.append(module.to_out[0])
    with torch.no_grad():
        for layer in closing:
            for parameter in layer.parameters():
                parameter.zero_()
