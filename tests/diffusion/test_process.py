from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from diffusion.process import NoiseProcess, betas, linear_betas, to_model, to_pixels

SOME_STEPS = (50, 100, 400, 1000, 4000)


def scheduler_of(variances: Any) -> Any:
    return DDPMScheduler(num_train_timesteps=len(variances), trained_betas=variances, clip_sample=False)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class TestBetas:
    def test_a_thousand_linear_betas_are_those_of_ho(self) -> None:
        known = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
        np.testing.assert_allclose(linear_betas(1000), known.betas.numpy(), rtol=1e-6)  # diffusers keeps float32
        assert linear_betas(1000)[[0, -1]] == pytest.approx([1e-4, 0.02], rel=1e-12)

    @pytest.mark.parametrize("diffusion_steps", SOME_STEPS)
    def test_the_last_step_is_pure_noise(self, diffusion_steps: int) -> None:
        bars = NoiseProcess.make("linear", diffusion_steps).alphas_cumprod
        assert len(bars) == diffusion_steps and bars[-1] < 1e-3
        assert (bars[1:] < bars[:-1]).all() and (bars > 0).all()

    @pytest.mark.parametrize("diffusion_steps", SOME_STEPS)
    def test_betas_rise_evenly_and_never_above_0999(self, diffusion_steps: int) -> None:
        variances = betas("linear", diffusion_steps)
        assert variances[0] == pytest.approx(0.1 / diffusion_steps)  # 1000/T × 1e-4
        assert variances.max() <= 0.999 and (np.diff(variances) >= 0).all()

    def test_twenty_is_where_a_beta_would_reach_one_and_fifty_is_still_below(self) -> None:
        assert linear_betas(50)[-1] == pytest.approx(0.4)

    @pytest.mark.parametrize("diffusion_steps", [0, 1, 20, 49])
    def test_fewer_than_fifty_steps_are_refused(self, diffusion_steps: int) -> None:
        with pytest.raises(ValueError, match=f"diffusion_steps={diffusion_steps} is below 50"):
            linear_betas(diffusion_steps)

    def test_betas_are_clipped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("diffusion.process.FEWEST_STEPS", 1)
        variances = linear_betas(10)  # 100 × 0.02 = 2 unclipped
        assert variances[-1] == 0.999 and variances[0] == pytest.approx(0.01)


class TestForward:
    @pytest.mark.parametrize("diffusion_steps", [50, 400, 1000])
    def test_diffuse_is_what_diffusers_adds(self, diffusion_steps: int) -> None:
        process = NoiseProcess.make("linear", diffusion_steps)
        assert process.diffusion_steps == diffusion_steps
        images, noise = draws(5, 3, 8, 8), draws(5, 3, 8, 8, seed=1)
        steps = torch.tensor([0, 1, diffusion_steps // 2, diffusion_steps - 2, diffusion_steps - 1])
        expected = scheduler_of(betas("linear", diffusion_steps)).add_noise(images, noise, steps)
        # diffusers multiplies ᾱ up in float32: T roundings of 6e-8 on values up to 4
        torch.testing.assert_close(process.diffuse(images, noise, steps), expected, rtol=0, atol=1e-4)

    def test_the_first_step_is_almost_clean_and_the_last_almost_noise(self) -> None:
        process, images, noise = NoiseProcess.make("linear", 1000), torch.ones(2, 1, 8, 8), draws(2, 1, 8, 8)
        first, last = process.diffuse(images, noise, torch.tensor([0, 999]))
        assert first.mean().item() == pytest.approx((1 - 1e-4) ** 0.5 + 0.01 * noise[0].mean().item(), abs=1e-5)
        torch.testing.assert_close(last, noise[1], rtol=0, atol=0.01)  # √ᾱ_T = 0.0064

    def test_steps_are_drawn_per_image(self) -> None:
        process, images, noise = NoiseProcess.make("linear", 50), draws(3, 1, 8, 8), draws(3, 1, 8, 8, seed=1)
        steps = torch.tensor([40, 3, 17])
        together = process.diffuse(images, noise, steps)
        for index in range(3):
            alone = process.diffuse(images[index, None], noise[index, None], steps[index, None])
            assert torch.equal(alone[0], together[index])

    def test_variance_is_preserved(self) -> None:
        process = NoiseProcess.make("linear", 400)
        images, noise = draws(400, 1, 16, 16), draws(400, 1, 16, 16, seed=1)
        noisy = process.diffuse(images, noise, torch.arange(400))
        # 102,400 values of variance 1: the deviation of their variance is √(2/102400) = 0.0044
        assert noisy.var().item() == pytest.approx(1, abs=0.015)


class TestLoss:
    def setup_method(self) -> None:
        self.process = NoiseProcess.make("linear", 100)
        self.images, self.noise = draws(4, 1, 8, 8), draws(4, 1, 8, 8, seed=1)
        self.steps = torch.tensor([0, 30, 60, 99])

    def loss(self, predict: Any) -> float:
        def model(noisy: torch.Tensor, steps: torch.Tensor) -> SimpleNamespace:
            assert torch.equal(steps, self.steps)
            assert torch.equal(noisy, self.process.diffuse(self.images, self.noise, self.steps))
            return SimpleNamespace(sample=predict(noisy))

        value: Any = self.process.loss(model, self.images, self.noise, self.steps)  # type: ignore[arg-type]
        assert value.shape == ()
        return float(value)

    def test_a_perfect_prediction_of_the_noise_costs_nothing(self) -> None:
        assert self.loss(lambda noisy: self.noise) == 0

    def test_predicting_nothing_costs_the_power_of_the_noise(self) -> None:
        expected = float((self.noise.double() ** 2).mean())
        assert self.loss(torch.zeros_like) == pytest.approx(expected, rel=1e-6)

    def test_the_wrong_sign_costs_four_times_that(self) -> None:
        expected = 4 * float((self.noise.double() ** 2).mean())
        assert self.loss(lambda noisy: -self.noise) == pytest.approx(expected, rel=1e-6)

    def test_a_half_precision_prediction_is_compared_in_full_precision(self) -> None:
        assert 0 < self.loss(lambda noisy: self.noise.bfloat16()) < 1e-4  # (2⁻⁹)² × noise²


class TestPixels:
    def test_all_256_values_round_trip(self) -> None:
        pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
        assert torch.equal(to_pixels(to_model(pixels)), pixels)

    def test_black_is_minus_one_and_white_is_one(self) -> None:
        assert to_model(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]

    def test_values_outside_the_range_are_clipped_and_others_rounded(self) -> None:
        values = torch.tensor([-3.0, -1.0, 0.001, 1.0, 3.0, -1 + 1.4 / 127.5, -1 + 1.6 / 127.5])
        assert to_pixels(values).tolist() == [0, 0, 128, 255, 255, 1, 2]
