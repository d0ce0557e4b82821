"""The losses against integrals: 1-D densities on a grid, and the normal integral of the standard library."""

from math import erf, log, log2
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion.process import NoiseProcess, betas, to_model
from diffusion.settings import Family, Schedule
from diffusion.training.losses import (
    bound_terms,
    discretised_log_likelihood,
    gaussian_kl,
    hybrid_loss,
    learned_log_variance,
    simple_loss,
    training_loss,
)

GRID = np.linspace(-12, 12, 240_001)
SPACING = GRID[1] - GRID[0]
LEVELS = torch.arange(256, dtype=torch.float64) / 127.5 - 1  # (256,)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def log_normal(values: Any, mean: float, variance: float) -> Any:
    return -((values - mean) ** 2) / (2 * variance) - log(2 * np.pi * variance) / 2


def normal(values: Any, mean: float, variance: float) -> Any:
    return np.exp(log_normal(values, mean, variance))


def pixel(value: float) -> Tensor:
    return torch.full((1, 1, 1, 1), value, dtype=torch.float64)


class TestDivergence:
    @pytest.mark.parametrize(
        ("mean", "variance", "other_mean", "other_variance"),
        [(0.3, 0.2, -0.5, 0.7), (0.3, 0.7, -0.5, 0.2), (-1.0, 0.01, -0.9, 0.01), (0.0, 0.5, 0.0, 0.1)],
    )
    def test_it_is_the_integral_that_it_stands_for(
        self, mean: float, variance: float, other_mean: float, other_variance: float
    ) -> None:
        density = normal(GRID, mean, variance)
        ratio = log_normal(GRID, mean, variance) - log_normal(GRID, other_mean, other_variance)
        integral = float((density * ratio).sum() * SPACING)
        value = gaussian_kl(*(pixel(x) for x in (mean, log(variance), other_mean, log(other_variance))))
        assert value.item() == pytest.approx(integral, rel=1e-6)

    def test_it_is_zero_between_equals_and_positive_otherwise(self) -> None:
        mean, log_variance = draws(2, 3, 4, 4), draws(2, 3, 4, 4, seed=1)
        assert (gaussian_kl(mean, log_variance, mean, log_variance) == 0).all()
        other = gaussian_kl(mean, log_variance, draws(2, 3, 4, 4, seed=2), draws(2, 3, 4, 4, seed=3))
        assert (other > 0).all()


def likelihood(levels: Tensor, mean: float, deviation: float) -> Tensor:
    """The log-probability of each level under one normal distribution.  (256,)"""
    images = levels.view(-1, 1, 1, 1)
    means, log_variances = torch.full_like(images, mean), torch.full_like(images, 2 * log(deviation))
    return discretised_log_likelihood(images, means, log_variances).flatten()


class TestDiscretisedLikelihood:
    @pytest.mark.parametrize("mean", [-1.2, -1.0, -0.3, 0.0, 0.501, 1.0, 4.0])
    @pytest.mark.parametrize("deviation", [0.002, 0.01, 0.3, 5.0])
    def test_the_probabilities_of_all_levels_add_up_to_one(self, mean: float, deviation: float) -> None:
        assert likelihood(LEVELS, mean, deviation).exp().sum().item() == pytest.approx(1, abs=1e-9)
        assert likelihood(LEVELS.float(), mean, deviation).exp().sum().item() == pytest.approx(1, abs=1e-4)

    @pytest.mark.parametrize("level", [0, 1, 100, 128, 254, 255])
    def test_a_level_takes_what_lies_nearer_to_it_than_to_any_other(self, level: int) -> None:
        mean, deviation = 0.2, 0.4
        below = -np.inf if level == 0 else (2 * level - 1) / 255 - 1  # halfway to the level before
        above = np.inf if level == 255 else (2 * level + 1) / 255 - 1
        integral = (erf((above - mean) / deviation / 2**0.5) - erf((below - mean) / deviation / 2**0.5)) / 2
        assert likelihood(LEVELS, mean, deviation)[level].exp().item() == pytest.approx(integral, rel=1e-6)

    @pytest.mark.parametrize("mean", [-0.9, 0.9])
    def test_far_away_it_goes_on_falling_and_says_where_to(self, mean: float) -> None:
        """At 180 deviations, where probabilities underflow: log ≈ -z²/2, and its slope towards the level."""
        images, means = torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), mean, requires_grad=True)
        log_variance = torch.full((1, 1, 1, 1), 2 * log(0.005), requires_grad=True)
        value = discretised_log_likelihood(images, means, log_variance)
        nearest = (0.9 - 1 / 255) / 0.005
        assert value.item() == pytest.approx(-(nearest**2) / 2, rel=1e-3)
        mean_slope, variance_slope = torch.autograd.grad(value.sum(), (means, log_variance))
        assert mean_slope.item() * mean < 0  # less of |mean| would be likelier
        assert variance_slope.item() == pytest.approx(nearest**2 / 2, rel=1e-3)  # and so would more variance

    def test_a_very_wide_distribution_has_finite_slopes(self) -> None:
        images, log_variance = LEVELS.float().view(-1, 1, 1, 1), torch.full((256, 1, 1, 1), 60.0, requires_grad=True)
        value = discretised_log_likelihood(images, torch.zeros_like(images), log_variance)
        (slope,) = torch.autograd.grad(value.sum(), log_variance)
        assert value.isfinite().all() and slope.isfinite().all()


class TestLearnedVariance:
    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    def test_outputs_from_minus_one_to_one_lie_between_the_posterior_and_the_forward_variance(
        self, schedule: Schedule
    ) -> None:
        process, steps = NoiseProcess.make(schedule, 400), torch.arange(400)
        smallest, largest = process.log_posterior_variance, process.log_betas
        outputs = torch.linspace(-1, 1, 16, dtype=torch.float64).view(1, 1, 4, 4).expand(400, 1, 4, 4)
        found = learned_log_variance(process, outputs, steps).flatten(1)  # (400, 16)
        assert torch.equal(found[:, 0], smallest) and torch.equal(found[:, -1], largest)
        assert (found.diff(dim=1)[1:] > 0).all()

    def test_zero_is_the_geometric_mean(self) -> None:
        process = NoiseProcess.make("cosine", 50)
        found = learned_log_variance(process, pixel(0), torch.tensor([20])).exp().item()
        assert found**2 == pytest.approx(float(process.posterior_variance[20]) * betas("cosine", 50)[20])


class TestBoundTerms:
    """A network of one pixel that predicts 0.8 x_t - 0.1 and a variance a third of the way up."""

    clean, noisy = float(LEVELS[150]), 0.45
    predicted, output = 0.8 * 0.45 - 0.1, -1 / 3

    def term(self, process: NoiseProcess, step: int) -> float:
        predicted, output, clean, noisy = map(pixel, (self.predicted, self.output, self.clean, self.noisy))
        terms = bound_terms(process, predicted, output, clean, noisy, torch.tensor([step]))
        assert terms.shape == (1,)
        return terms.item()

    def model(self, schedule: Schedule, step: int) -> tuple[float, float]:
        """Mean and variance of its p(x_{t-1} | x_t), by Eq. 11 of Ho et al. and Eq. 15 of Nichol & Dhariwal."""
        variances = betas(schedule, 100)
        bars = np.cumprod(1 - variances)
        beta, bar, before = variances[step], bars[step], bars[step - 1] if step else 1.0
        mean = (self.noisy - beta / np.sqrt(1 - bar) * self.predicted) / np.sqrt(1 - beta)
        second = variances[1] * (1 - bars[0]) / (1 - bars[1])
        posterior = beta * (1 - before) / (1 - bar) if step else second
        return mean, float(beta ** (1 / 3) * posterior ** (2 / 3))

    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    @pytest.mark.parametrize("step", [1, 2, 40, 99])
    def test_later_terms_are_the_divergence_from_the_posterior_of_bayes_rule(
        self, schedule: Schedule, step: int
    ) -> None:
        process, variances = NoiseProcess.make(schedule, 100), betas(schedule, 100)
        before, beta = np.cumprod(1 - variances)[step - 1], variances[step]
        true = normal(GRID, before**0.5 * self.clean, 1 - before) * normal(self.noisy, (1 - beta) ** 0.5 * GRID, beta)
        true /= true.sum() * SPACING
        mean, variance = self.model(schedule, step)
        inside = true > 1e-200  # beyond, p log p is nothing
        ratio = np.log(true[inside]) - log_normal(GRID[inside], mean, variance)
        nats = float((true[inside] * ratio).sum() * SPACING)
        assert self.term(process, step) == pytest.approx(nats / log(2), rel=1e-6)

    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    def test_the_first_term_is_the_surprise_at_the_pixel(self, schedule: Schedule) -> None:
        mean, variance = self.model(schedule, 0)
        near = np.linspace(self.clean - 1 / 255, self.clean + 1 / 255, 100_001)
        density = normal(near, mean, variance)
        probability = float(((density[1:] + density[:-1]) / 2).sum() * (near[1] - near[0]))
        assert self.term(NoiseProcess.make(schedule, 100), 0) == pytest.approx(-log2(probability), rel=1e-6)

    def test_terms_are_means_over_the_values_of_each_image(self) -> None:
        process, steps = NoiseProcess.make("cosine", 100), torch.tensor([0, 1, 99])
        images = LEVELS[torch.arange(3 * 2 * 16) % 256].view(3, 2, 4, 4)
        predicted, output, noisy = (draws(3, 2, 4, 4, seed=seed).double() for seed in range(3))
        values = [predicted, output, images, noisy]
        together = bound_terms(process, predicted, output, images, noisy, steps)
        for index in range(3):
            pixels = [value[index].view(32, 1, 1, 1) for value in values]
            alone = bound_terms(process, pixels[0], pixels[1], pixels[2], pixels[3], steps[index].expand(32))
            assert together[index].item() == pytest.approx(alone.mean().item())

    def test_nothing_is_left_but_the_variance_when_the_noise_is_known(self) -> None:
        process, steps = NoiseProcess.make("cosine", 100), torch.arange(1, 100)
        images, noise = draws(99, 1, 4, 4).clamp(-1, 1).double(), draws(99, 1, 4, 4, seed=1).double()
        noisy, lowest = process.diffuse(images, noise, steps), torch.full_like(noise, -1)
        assert bound_terms(process, noise, lowest, images, noisy, steps).abs().max() < 1e-9
        assert (bound_terms(process, noise, -lowest, images, noisy, steps) > 1e-9).all()
        assert (bound_terms(process, -noise, lowest, images, noisy, steps) > 1e-3).all()

    def test_the_variance_that_it_teaches_is_the_right_one(self) -> None:
        """With errors of one size δ, the best variance is β̃ + (c δ)², c the weight of the noise in the mean."""
        process, steps, step, error = NoiseProcess.make("linear", 200), torch.tensor([3]), 3, 0.4
        images, noise = torch.zeros(1, 1, 8, 8).double(), draws(1, 1, 8, 8).double()
        noisy = process.diffuse(images, noise, steps)
        variance = betas("linear", 200)[step]
        weight = variance / np.sqrt((1 - process.alphas_cumprod[step].item()) * (1 - variance))  # Ho et al., Eq. 11
        best = process.posterior_variance[step].item() + (weight * error) ** 2
        largest, smallest = process.log_betas[step].item(), process.log_posterior_variance[step].item()
        right = 2 * (log(best) - smallest) / (largest - smallest) - 1
        assert -0.9 < right < 0.9

        def slope(output: float) -> float:
            outputs = torch.full_like(noise, output).requires_grad_()
            terms = bound_terms(process, noise + error, outputs, images, noisy, steps)
            return float(torch.autograd.grad(terms.sum(), outputs)[0].sum())

        assert slope(right - 0.1) < -1e-3 and slope(right + 0.1) > 1e-3
        assert slope(right) == pytest.approx(0, abs=1e-12)

    def test_single_precision_is_enough(self) -> None:
        process, steps = NoiseProcess.make("cosine", 4000), torch.arange(0, 4000, 7)
        count = len(steps)
        images = LEVELS[torch.arange(count * 16) % 256].view(count, 1, 4, 4)
        noise, output = draws(count, 1, 4, 4).double(), draws(count, 1, 4, 4, seed=1).double()
        predicted = noise + 0.1 * draws(count, 1, 4, 4, seed=2).double()
        noisy = process.diffuse(images, noise, steps)
        exact = bound_terms(process, predicted, output, images, noisy, steps)
        single = bound_terms(process, predicted.float(), output.float(), images.float(), noisy.float(), steps)
        # x_t has 6e-8 of rounding beside a deviation of 2e-3 at least
        torch.testing.assert_close(single.double(), exact, rtol=1e-3, atol=1e-5)


class TestHybrid:
    def setup_method(self) -> None:
        self.process = NoiseProcess.make("cosine", 200)
        self.images = to_model(torch.randint(256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(5)))
        self.noise, self.steps = draws(6, 3, 8, 8), torch.tensor([0, 0, 1, 50, 120, 199])
        self.noisy = self.process.diffuse(self.images, self.noise, self.steps)
        self.output = draws(6, 6, 8, 8, seed=1).requires_grad_()

    def loss(self, output: Tensor) -> Tensor:
        return hybrid_loss(self.process, output, self.images, self.noisy, self.noise, self.steps)

    def terms(self, output: Tensor) -> Tensor:
        return bound_terms(self.process, output[:, :3], output[:, 3:], self.images, self.noisy, self.steps)

    def test_it_adds_a_thousandth_of_the_estimated_bound(self) -> None:
        """The authors' T/1000, and the λ = 0.001 of the paper times T terms of which one was drawn."""
        expected = simple_loss(self.output[:, :3], self.noise) + 200 / 1000 * self.terms(self.output).mean()
        assert self.loss(self.output).item() == pytest.approx(expected.item(), rel=1e-6)

    def test_the_bound_does_not_reach_the_predicted_noise(self) -> None:
        (gradient,) = torch.autograd.grad(self.loss(self.output), self.output)
        (simple,) = torch.autograd.grad(simple_loss(self.output[:, :3], self.noise), self.output)
        (bound,) = torch.autograd.grad(0.2 * self.terms(self.output).mean(), self.output)
        assert bound[:, :3].abs().max() > 1e-6  # there would be something to reach it
        assert torch.equal(gradient[:, :3], simple[:, :3])
        torch.testing.assert_close(gradient[:, 3:], bound[:, 3:])
        assert bound[:, 3:].abs().amax(dim=(1, 2, 3)).min() > 0  # it teaches the variance of every image


class TestTrainingLoss:
    def setup_method(self) -> None:
        self.process = NoiseProcess.make("linear", 100)
        self.images, self.noise = draws(4, 1, 8, 8), draws(4, 1, 8, 8, seed=1)
        self.steps = torch.tensor([0, 30, 60, 99])

    def loss(self, predict: Any, family: Family = "ddpm") -> float:
        def model(noisy: Tensor, steps: Tensor) -> SimpleNamespace:
            assert torch.equal(steps, self.steps)
            assert torch.equal(noisy, self.process.diffuse(self.images, self.noise, self.steps))
            return SimpleNamespace(sample=predict(noisy))

        value: Any = training_loss(self.process, family, model, self.images, self.noise, self.steps)  # type: ignore[arg-type]
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

    def test_the_family_iddpm_is_trained_on_the_hybrid_loss(self) -> None:
        output = draws(4, 2, 8, 8, seed=2)
        noisy = self.process.diffuse(self.images, self.noise, self.steps)
        expected = hybrid_loss(self.process, output, self.images, noisy, self.noise, self.steps)
        assert self.loss(lambda _: output, "iddpm") == float(expected)
        assert self.loss(lambda _: output.bfloat16(), "iddpm") == pytest.approx(float(expected), rel=0.01)
