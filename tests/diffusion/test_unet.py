import random
from math import gcd
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from diffusion.settings import Family, Settings
from diffusion.space import SearchSpace, built_in
from diffusion.spec import UNetSpec
from diffusion.unet import build_unet, norm_groups, unet_arguments

SPEC = UNetSpec.parse("b8-n1-m1.2.2.2-a0100")
FAMILIES: tuple[Family, ...] = ("ddpm", "iddpm")
NARROW = SearchSpace(name="narrow", base_channel=(4, 8, 12), num_blocks=(1,), channel_mult=(1, 2, 3))


def settings_of(family: Family = "ddpm", resolution: int = 8, channels: int = 1) -> Settings:
    return Settings(dataset="none", resolution=resolution, channels=channels, family=family)


def inputs_of(settings: Settings, count: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    shape = (count, settings.channels, settings.resolution, settings.resolution)
    return torch.randn(shape, generator=draws), torch.full((count,), 5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", ["b8-n1-m1.2.2.2-a0100", "b4-n2-m1.1.3.2-a1011"])
def test_an_untrained_network_predicts_exactly_zero(family: Family, text: str) -> None:
    settings = settings_of(family)
    with torch.no_grad():
        predicted = build_unet(UNetSpec.parse(text), settings)(*inputs_of(settings)).sample
    assert torch.count_nonzero(predicted) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_closing_layers_start_at_zero_and_no_others(family: Family) -> None:
    model = build_unet(UNetSpec.parse("b8-n2-m1.2.2.2-a0100"), settings_of(family))
    closing: set[Any] = {model.conv_out}
    closing |= {module.conv2 for module in model.modules() if isinstance(module, ResnetBlock2D)}
    closing |= {module.to_out[0] for module in model.modules() if isinstance(module, Attention)}
    assert len(closing) == 1 + (4 * 2 + 2 + 4 * 3) + (2 + 1 + 3)  # the end; down, middle, up; attention likewise
    layers = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert {layer for layer in layers if torch.count_nonzero(layer.weight) == 0} == closing
    assert all(torch.count_nonzero(layer.bias) == 0 for layer in closing)


class TestGroups:
    @pytest.mark.parametrize(
        ("text", "resolution", "groups"),
        [
            ("b128-n2-m1.2.2.2-a0100", 32, 32),
            ("b96-n2-m1.2.3.4-a0000", 32, 32),
            ("b160-n1-m1.1.1.1-a0000", 32, 32),
            ("b24-n1-m1.2.3.4-a0000", 32, 24),
            ("b20-n1-m3.3.3.3-a0000", 32, 30),  # 60 = 2 × 30, and 32 does not divide it
            ("b36-n1-m1.1.1.1-a0000", 32, 18),
            ("b4-n1-m1.2.2.2-a0000", 16, 4),  # one channel a group, but four values of it
            ("b4-n1-m1.2.2.2-a0000", 8, 4),
            ("b4-n1-m1.1.1.1-a0000", 8, 2),
            ("b16-n1-m1.2.2.1-a0000", 8, 8),
            ("b16-n1-m1.2.1.2-a0000", 8, 8),  # the last stage first sees the channels of the third
            ("b16-n1-m1.2.2.2-a0100", 8, 16),
        ],
    )
    def test_groups_are_the_largest_number_that_is_allowed(self, text: str, resolution: int, groups: int) -> None:
        assert norm_groups(UNetSpec.parse(text), resolution) == groups

    def test_at_32_they_are_the_largest_divisor_of_every_stage_up_to_32(self) -> None:
        rng = random.Random(0)
        for spec in (built_in("digits-8").sample(rng) for _ in range(200)):
            divisors = [n for n in range(1, 33) if all(channels % n == 0 for channels in spec.channels)]
            assert norm_groups(spec, 32) == divisors[-1]

    def test_every_norm_of_the_network_uses_them(self) -> None:
        spec = UNetSpec.parse("b12-n1-m1.2.1.3-a1010")
        model = build_unet(spec, settings_of("iddpm", 16))
        assert {norm.num_groups for norm in model.modules() if isinstance(norm, nn.GroupNorm)} == {12}

    def test_a_single_8x8_image_passes_through_whatever_the_spec(self) -> None:
        """Torch refuses to normalise a single value; specs whose groups would be one channel wide are the risk."""
        risky = [spec for spec in NARROW if not any(spec.attn) and min(spec.channels[-2:]) == gcd(*spec.channels)]
        assert len(risky) >= 100
        for spec in random.Random(0).sample(risky, 12):
            settings = settings_of(random.Random(str(spec)).choice(FAMILIES))
            model = build_unet(spec, settings).train()
            assert model(*inputs_of(settings)).sample.shape[0] == 1, spec
            groups = norm_groups(spec, 8)
            assert min(spec.channels[-2:]) // groups >= 2


class TestAttention:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("bits", ["0000", "1000", "0100", "0011"])
    def test_attention_stands_where_the_bits_say_and_always_in_the_middle(self, bits: str, family: Family) -> None:
        model = build_unet(UNetSpec.parse(f"b4-n2-m1.1.2.2-a{bits}"), settings_of(family))
        names = [name for name, module in model.named_modules() if isinstance(module, Attention)]
        expected = {"mid_block.attentions.0"}
        for stage in (stage for stage in range(4) if bits[stage] == "1"):
            expected |= {f"down_blocks.{stage}.attentions.{index}" for index in range(2)}
            expected |= {f"up_blocks.{3 - stage}.attentions.{index}" for index in range(3)}
        assert set(names) == expected

    @pytest.mark.parametrize("family", FAMILIES)
    def test_the_middle_attention_keeps_its_norm(self, family: Family) -> None:
        model = build_unet(UNetSpec.parse("b8-n1-m1.2.2.2-a0000"), settings_of(family))
        norm = model.mid_block.attentions[0].group_norm
        assert isinstance(norm, nn.GroupNorm) and norm.num_groups == 8

    @pytest.mark.parametrize(
        ("family", "base", "widths"), [("ddpm", 8, {8, 16}), ("iddpm", 8, {8}), ("iddpm", 12, {4}), ("iddpm", 64, {32})]
    )
    def test_ddpm_has_one_head_and_iddpm_one_head_width(self, family: Family, base: int, widths: set[int]) -> None:
        with torch.device("meta"):
            model = build_unet(UNetSpec.parse(f"b{base}-n1-m1.2.2.2-a1111"), settings_of(family))
        found = {m.to_q.out_features // m.heads for m in model.modules() if isinstance(m, Attention)}
        assert found == widths


class TestFamilies:
    def test_ddpm_predicts_noise_alone_and_iddpm_noise_and_variance(self) -> None:
        for family, outputs in (("ddpm", 3), ("iddpm", 6)):
            settings = settings_of(family, 16, 3)  # type: ignore[arg-type]
            predicted = build_unet(SPEC, settings)(*inputs_of(settings, 2)).sample
            assert predicted.shape == (2, outputs, 16, 16)

    def test_ddpm_is_as_the_design_draws_it(self) -> None:
        config = build_unet(SPEC, settings_of("ddpm"), dropout=0.1).config
        assert tuple(config.down_block_types) == ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D")
        assert tuple(config.up_block_types) == ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D")
        assert tuple(config.block_out_channels) == (8, 16, 16, 16)
        assert (config.layers_per_block, config.norm_eps, config.downsample_padding) == (1, 1e-6, 0)
        assert (config.resnet_time_scale_shift, config.attention_head_dim) == ("default", None)
        assert (config.flip_sin_to_cos, config.freq_shift, config.dropout) == (False, 1, 0.1)

    def test_iddpm_is_as_the_design_draws_it(self) -> None:
        config = build_unet(SPEC, settings_of("iddpm")).config
        assert (config.resnet_time_scale_shift, config.attention_head_dim) == ("scale_shift", 8)
        assert (config.flip_sin_to_cos, config.freq_shift, config.dropout) == (True, 0, 0.0)

    def test_dropout_reaches_every_residual_block(self) -> None:
        model = build_unet(SPEC, settings_of(), dropout=0.3)
        assert {m.dropout.p for m in model.modules() if isinstance(m, ResnetBlock2D)} == {0.3}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_configuration_round_trips_through_diffusers(family: Family, tmp_path: Path) -> None:
    settings = settings_of(family)
    model = build_unet(SPEC, settings, dropout=0.1)
    model.save_config(tmp_path)
    again = UNet2DModel.from_config(UNet2DModel.load_config(tmp_path))
    asked = unet_arguments(SPEC, settings, 0.1)
    kept = {name: again.config[name] for name in asked}
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()} == asked
    again.load_state_dict(model.state_dict())  # the same names and shapes
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
        again.load_state_dict(model.state_dict())
        outputs = [network.eval()(*inputs_of(settings, 2)).sample for network in (model, again)]
    assert torch.equal(*outputs) and torch.count_nonzero(outputs[0]) > 0
