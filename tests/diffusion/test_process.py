from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from diffusion.process import NoiseProcess, betas, cosine_betas, linear_betas, to_model, to_pixels
from diffusion.settings import Schedule

SOME_STEPS = (50, 100, 400, 1000, 4000)
SCHEDULES: tuple[Schedule, ...] = ("linear", "cosine", "scaled_linear")


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
    def test_cosine_betas_are_those_of_nichol_and_dhariwal(self, diffusion_steps: int) -> None:
        known = DDPMScheduler(num_train_timesteps=diffusion_steps, beta_schedule="squaredcos_cap_v2")
        np.testing.assert_allclose(cosine_betas(diffusion_steps), known.betas.numpy(), rtol=1e-6)  # float32

    def test_a_thousand_scaled_linear_betas_are_those_of_latent_diffusion(self) -> None:
        known = DDPMScheduler(1000, beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear")
        np.testing.assert_allclose(betas("scaled_linear", 1000), known.betas.numpy(), rtol=1e-5)  # float32

    def test_cosine_levels_follow_equation_17_and_the_last_beta_is_clipped(self) -> None:
        bars = NoiseProcess.make("cosine", 1000).alphas_cumprod

        def f(time: float) -> float:
            return float(np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2)

        for step in (0, 1, 499, 998):  # step t counts from 0, the paper's t from 1
            assert bars[step].item() == pytest.approx(f((step + 1) / 1000) / f(0), rel=1e-9)
        assert cosine_betas(1000)[-1] == 0.999 and cosine_betas(1000)[-2] < 0.999
        assert cosine_betas(1000)[0] ** 0.5 < 1 / 127.5  # what s = 0.008 was chosen for: less than one grey level

    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_the_last_step_is_pure_noise_for_every_number_of_steps(self, schedule: Schedule) -> None:
        for diffusion_steps in (*range(50, 1001), 2000, 4000, 10_000):
            bars = np.cumprod(1 - betas(schedule, diffusion_steps))
            assert len(bars) == diffusion_steps and 0 < bars[-1] < 1e-3
            assert (np.diff(bars) < 0).all()

    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("diffusion_steps", SOME_STEPS)
    def test_betas_rise_and_never_above_0999(self, schedule: Schedule, diffusion_steps: int) -> None:
        variances = betas(schedule, diffusion_steps)
        assert variances[0] > 0 and variances.max() <= 0.999 and (np.diff(variances) >= 0).all()

    @pytest.mark.parametrize("diffusion_steps", SOME_STEPS)
    def test_linear_betas_are_scaled_to_the_number_of_steps(self, diffusion_steps: int) -> None:
        assert betas("linear", diffusion_steps)[0] == pytest.approx(0.1 / diffusion_steps)  # 1000/T × 1e-4

    def test_twenty_is_where_a_beta_would_reach_one_and_fifty_is_still_below(self) -> None:
        assert linear_betas(50)[-1] == pytest.approx(0.4)

    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("diffusion_steps", [0, 1, 20, 49])
    def test_fewer_than_fifty_steps_are_refused(self, schedule: Schedule, diffusion_steps: int) -> None:
        with pytest.raises(ValueError, match=f"diffusion_steps={diffusion_steps} is below 50"):
            betas(schedule, diffusion_steps)

    def test_linear_betas_are_clipped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("diffusion.process.FEWEST_STEPS", 1)
        variances = linear_betas(10)  # 100 × 0.02 = 2 unclipped
        assert variances[-1] == 0.999 and variances[0] == pytest.approx(0.01)


class TestForward:
    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("diffusion_steps", [50, 400, 1000])
    def test_diffuse_is_what_diffusers_adds(self, schedule: Schedule, diffusion_steps: int) -> None:
        process = NoiseProcess.make(schedule, diffusion_steps)
        assert process.diffusion_steps == diffusion_steps
        images, noise = draws(5, 3, 8, 8), draws(5, 3, 8, 8, seed=1)
        steps = torch.tensor([0, 1, diffusion_steps // 2, diffusion_steps - 2, diffusion_steps - 1])
        expected = scheduler_of(betas(schedule, diffusion_steps)).add_noise(images, noise, steps)
        # diffusers multiplies ᾱ up in float32: T roundings of 6e-8 on values up to 4
        torch.testing.assert_close(process.diffuse(images, noise, steps), expected, rtol=0, atol=1e-4)

    def test_the_weights_are_taken_in_float64_and_rounded_once(self) -> None:
        """Trainings are stored under a key that says so: another order of roundings gives other weights."""
        images, noise, steps = draws(400, 1, 8, 8), draws(400, 1, 8, 8, seed=1), torch.arange(400)
        bars = np.cumprod(1 - linear_betas(400))
        signal, deviation = (torch.from_numpy(np.sqrt(x)).float().view(-1, 1, 1, 1) for x in (bars, 1 - bars))
        noisy = NoiseProcess.make("linear", 400).diffuse(images, noise, steps)
        assert torch.equal(noisy, signal * images + deviation * noise)

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

    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_clean_takes_the_noise_off_again(self, schedule: Schedule) -> None:
        process = NoiseProcess.make(schedule, 100)
        images, noise, steps = draws(100, 1, 8, 8).double(), draws(100, 1, 8, 8, seed=1).double(), torch.arange(100)
        noisy = process.diffuse(images, noise, steps)
        # float64's 1e-16, divided by √ᾱ_T which is 5e-4 at least
        torch.testing.assert_close(process.clean(noisy, noise, steps), images, rtol=0, atol=1e-11)


GRID = np.linspace(-12, 12, 240_001)  # x_{t-1}; a deviation is 0.006 at least, 60 points
SPACING = GRID[1] - GRID[0]


def normal(values: Any, mean: float, variance: float) -> Any:
    return np.exp(-((values - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


class TestPosterior:
    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("step", [1, 2, 30, 98, 99])
    def test_mean_and_variance_are_those_of_bayes_rule(self, schedule: Schedule, step: int) -> None:
        """q(x_{t-1} | x_t, x_0) ∝ q(x_t | x_{t-1}) q(x_{t-1} | x_0), integrated on a grid."""
        process, variances = NoiseProcess.make(schedule, 100), betas(schedule, 100)
        clean, noisy = 0.6, -0.3
        before, beta = process.alphas_cumprod[step - 1].item(), variances[step]
        density = normal(GRID, before**0.5 * clean, 1 - before) * normal(noisy, (1 - beta) ** 0.5 * GRID, beta)
        density /= density.sum() * SPACING
        mean = float((GRID * density).sum() * SPACING)
        variance = float(((GRID - mean) ** 2 * density).sum() * SPACING)
        images, noisies = (torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in (clean, noisy))
        assert process.posterior_mean(images, noisies, torch.tensor([step])).item() == pytest.approx(mean, abs=1e-7)
        assert process.posterior_variance[step].item() == pytest.approx(variance, rel=1e-6)
        assert process.log_posterior_variance[step].exp().item() == pytest.approx(variance, rel=1e-6)

    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_before_the_first_step_there_is_the_clean_image_alone(self, schedule: Schedule) -> None:
        process = NoiseProcess.make(schedule, 100)
        images, noisy = draws(1, 1, 8, 8).double(), draws(1, 1, 8, 8, seed=1).double()
        torch.testing.assert_close(process.posterior_mean(images, noisy, torch.tensor([0])), images)
        assert process.posterior_variance[0] == 0

    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_the_posterior_varies_less_than_the_forward_step(self, schedule: Schedule) -> None:
        process = NoiseProcess.make(schedule, 400)
        assert (process.log_posterior_variance[1:] < process.log_betas[1:]).all()
        np.testing.assert_allclose(process.log_betas.exp(), betas(schedule, 400))
        assert process.log_posterior_variance[0] == process.log_posterior_variance[1]  # of zero there is no logarithm

    def test_tables_are_float64_on_the_cpu(self) -> None:
        tables = list(vars(NoiseProcess.make("cosine", 50)).values())
        assert len(tables) == 6
        assert {(table.dtype, table.device.type, len(table)) for table in tables} == {(torch.float64, "cpu", 50)}


class TestPixels:
    def test_all_256_values_round_trip(self) -> None:
        pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
        assert torch.equal(to_pixels(to_model(pixels)), pixels)

    def test_black_is_minus_one_and_white_is_one(self) -> None:
        assert to_model(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]

    def test_values_outside_the_range_are_clipped_and_others_rounded(self) -> None:
        values = torch.tensor([-3.0, -1.0, 0.001, 1.0, 3.0, -1 + 1.4 / 127.5, -1 + 1.6 / 127.5])
        assert to_pixels(values).tolist() == [0, 0, 128, 255, 255, 1, 2]
