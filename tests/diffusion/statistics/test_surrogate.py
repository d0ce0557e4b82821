"""The surrogate against known answers: the posterior by hand, refits, Monte Carlo, and functions that are planted."""

import math
import time
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from diffusion.networks import distinct, networks
from diffusion.space import built_in
from diffusion.spec import UNetSpec
from diffusion.statistics.surrogate import FEWEST, Kernel, Surrogate, features, log_score

KERNEL = Kernel(signal=1.5, length=2.5, noise=0.1)
NOISE = 0.04  # of a log score, by training again
EVERY = networks(distinct(built_in("digits-8").rows(), "ddpm"), "ddpm")


def random_networks(count: int, *key: int) -> NDArray[np.int64]:
    return EVERY[np.random.default_rng((count, *key)).choice(len(EVERY), count, replace=False)]


def planted(found: NDArray[np.int64]) -> NDArray[np.float64]:
    """A log score: width helps, most of all at full resolution; attention at stage 1 helps wide networks."""
    widths, blocks, attn = np.log2(found[:, 1:5]), found[:, 0], found[:, 5:9]
    gain = 0.5 * widths[:, 0] + 0.1 * widths.mean(axis=1) + 0.1 * blocks + 0.2 * attn[:, 1] * (widths[:, 1] - 4)
    return np.asarray(3 - gain)


def measured(found: NDArray[np.int64], *key: int) -> list[float | None]:
    noise = NOISE * np.random.default_rng((len(found), *key)).normal(size=len(found))
    return [float(value) for value in planted(found) + noise]


def matern(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = math.sqrt(5) * distance
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))


def fitted(found: NDArray[np.int64], scores: list[float | None], kernel: Kernel | None = None) -> Surrogate:
    surrogate = Surrogate.fit(found, scores, kernel)
    assert surrogate is not None
    return surrogate


class TestFeatures:
    def test_a_doubling_and_a_changed_attention_are_one_step(self) -> None:
        specs = ["b16-n1-m1.2.2.2-a0100", "b16-n1-m2.2.2.2-a0100", "b16-n2-m1.2.2.2-a0100", "b16-n1-m1.2.2.2-a0000"]
        rows = np.array([UNetSpec.parse(spec).row for spec in specs])
        points = features(networks(rows, "ddpm"))
        assert np.linalg.norm(points[1:] - points[0], axis=1).tolist() == [1, 1, 1]

    def test_two_spellings_are_one_point_and_two_head_widths_are_not(self) -> None:
        rows = np.array([UNetSpec.parse(spec).row for spec in ("b16-n1-m2.1.1.1-a0010", "b8-n1-m4.2.2.2-a0010")])
        one, other = features(networks(rows, "ddpm"))
        assert (one == other).all()
        one, other = features(networks(rows, "iddpm"))
        assert np.linalg.norm(one - other) == 1

    @pytest.mark.parametrize(("score", "log"), [(None, None), (math.nan, None), (math.inf, None), (math.e, 1.0)])
    def test_only_a_finite_score_has_a_logarithm(self, score: float | None, log: float | None) -> None:
        assert log_score(score) == log

    def test_a_score_of_zero_is_a_very_good_one(self) -> None:
        assert log_score(0.0) == pytest.approx(math.log(1e-6))


class TestPosterior:
    def test_it_is_that_of_the_textbook(self) -> None:
        known, asked = random_networks(12, 1), random_networks(7, 2)
        scores = measured(known, 3)
        surrogate = fitted(known, scores, KERNEL)

        def covariance(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
            apart = features(one)[:, None] - features(other)[None]
            scaled = math.sqrt(5) * np.linalg.norm(apart, axis=2) / KERNEL.length
            return np.asarray(KERNEL.signal * (1 + scaled + scaled**2 / 3) * np.exp(-scaled))

        values = np.array(scores, dtype=np.float64)
        inverse = np.linalg.inv(covariance(known, known) + KERNEL.noise * np.eye(12))
        mean = covariance(asked, known) @ inverse @ (values - values.mean()) / values.std()
        spread = covariance(asked, asked) - covariance(asked, known) @ inverse @ covariance(known, asked)
        found = surrogate.predict(asked)
        np.testing.assert_allclose(found.mean, values.mean() + values.std() * mean, rtol=1e-9)
        np.testing.assert_allclose(found.std, values.std() * np.sqrt(np.diag(spread) + KERNEL.noise), rtol=1e-9)
        step = surrogate.difference(asked[1:], asked[:1])
        np.testing.assert_allclose(step.mean, (found.mean - found.mean[0])[1:], rtol=1e-9, atol=1e-12)
        joint = spread[0, 0] + np.diag(spread)[1:] - 2 * spread[0, 1:]
        np.testing.assert_allclose(step.std, values.std() * np.sqrt(joint), rtol=1e-6)

    def test_it_is_scikit_learns_at_the_fitted_kernel(self) -> None:
        known, asked = random_networks(30, 1), random_networks(50, 2)
        scores = measured(known, 3)
        surrogate = fitted(known, scores)
        signal, length, noise = surrogate.kernel
        kernel = ConstantKernel(signal) * Matern(length, nu=2.5) + WhiteKernel(noise)
        process = GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True).fit(features(known), scores)
        mean, std = process.predict(features(asked), return_std=True)
        found = surrogate.predict(asked)
        np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
        np.testing.assert_allclose(found.std, std, rtol=1e-6)

    @pytest.mark.parametrize("count", [8, 30, 60])
    def test_the_fitted_kernel_is_the_one_that_scikit_learn_finds(self, count: int) -> None:
        surrogate = fitted(known := random_networks(count, 1), measured(known, 3))
        kernel = ConstantKernel(1.0, (0.05, 50)) * Matern(3.0, (0.3, 100), nu=2.5) + WhiteKernel(0.05, (1e-3, 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a number at its bound
            process = GaussianProcessRegressor(kernel).fit(surrogate.points, surrogate.values)
        ours = process.log_marginal_likelihood(np.log(surrogate.kernel))
        assert ours > process.log_marginal_likelihood_value_ - 1e-3

    def test_the_order_of_the_trials_changes_no_bit(self) -> None:
        known, asked = random_networks(20, 1), random_networks(50, 2)
        scores = measured(known, 3)
        order = np.random.default_rng(0).permutation(20)
        one = fitted(known, scores).predict(asked)
        other = fitted(known[order], [scores[place] for place in order]).predict(asked)
        assert (one.mean == other.mean).all()
        assert (one.std == other.std).all()

    def test_a_failure_counts_as_bad_as_the_worst(self) -> None:
        known = random_networks(10, 1)
        scores = measured(known, 3)
        worst = max(score for score in scores[:9] if score is not None)
        failed, scored = fitted(known, [*scores[:9], None], KERNEL), fitted(known, [*scores[:9], worst], KERNEL)
        assert (failed.predict(EVERY[:99]).mean == scored.predict(EVERY[:99]).mean).all()
        assert len(failed.left_one_out().log_scores) == 9

    def test_equal_scores_are_no_error(self) -> None:
        known = random_networks(8, 1)
        found = fitted(known, [2.0] * 8).predict(EVERY[:9])
        np.testing.assert_allclose(found.mean, 2.0)
        assert np.isfinite(found.std).all()

    @pytest.mark.parametrize("scored", range(FEWEST))
    def test_there_is_none_with_fewer_than_five_scores(self, scored: int) -> None:
        known = random_networks(10, 1)
        assert Surrogate.fit(known, [*measured(known, 3)[:scored], *[None] * (10 - scored)]) is None


class TestLeftOneOut:
    def test_it_is_a_refit_without_each(self) -> None:
        known = random_networks(11, 1)
        surrogate = fitted(known, measured(known, 3), KERNEL)
        found = surrogate.left_one_out()
        for place in range(11):
            rest = np.arange(11) != place
            full = KERNEL.signal * matern(
                np.linalg.norm(surrogate.points[:, None] - surrogate.points[None], axis=2) / KERNEL.length
            )
            weights = np.linalg.solve(full[np.ix_(rest, rest)] + KERNEL.noise * np.eye(10), full[rest, place])
            mean = surrogate.centre + surrogate.spread * weights @ surrogate.values[rest]
            variance = KERNEL.signal + KERNEL.noise - weights @ full[rest, place]
            assert found.prediction.mean[place] == pytest.approx(mean)
            assert found.prediction.std[place] == pytest.approx(surrogate.spread * math.sqrt(variance))

    def test_coverage_is_the_share_inside_the_interval(self) -> None:
        known = random_networks(20, 1)
        found = fitted(known, measured(known, 3)).left_one_out()
        distance = np.abs(found.log_scores - found.prediction.mean) / found.prediction.std
        assert found.coverage(0.9) == np.mean(distance <= 1.6448536269514722)
        assert found.coverage(1e-9) == 0


class TestImprovement:
    def test_it_is_the_mean_of_many_draws(self) -> None:
        known, asked = random_networks(12, 1), random_networks(6, 2)
        surrogate = fitted(known, measured(known, 3), KERNEL)
        prediction = surrogate.predict(asked)
        noise = math.sqrt(KERNEL.noise) * surrogate.spread
        assert surrogate.noise_std == noise
        best = (surrogate.predict(known).mean).min()
        draws = np.random.default_rng(0).normal(size=(400_000, 1)) * np.sqrt(prediction.std**2 - noise**2)
        gains = np.maximum(best - (prediction.mean + draws), 0)
        error = 4 * gains.std(axis=0) / math.sqrt(400_000)  # four standard errors of the mean
        assert (np.abs(surrogate.improvement(prediction) - gains.mean(axis=0)) < error).all()

    @pytest.mark.parametrize("count", [1, 5, 600])
    def test_the_most_promising_are_those_of_a_look_at_all(self, count: int) -> None:
        for seed in range(3):
            surrogate = fitted(known := random_networks(30, seed), measured(known, 3))
            asked = random_networks(4000, seed, 2)
            gains = np.round(surrogate.improvement(surrogate.predict(asked)), 12)
            places, prediction, found = surrogate.most_promising(asked, count)
            assert places == np.argsort(-gains, kind="stable")[:count].tolist()
            np.testing.assert_allclose(found, gains[places], atol=2e-12)
            np.testing.assert_allclose(prediction.mean, surrogate.predict(asked[places]).mean)

    def test_of_equals_the_first_are_taken_and_no_more_than_there_are(self) -> None:
        surrogate = fitted(known := random_networks(30, 1), measured(known, 3))
        same = np.repeat(random_networks(1, 2), 1200, axis=0)
        assert surrogate.most_promising(same, 3)[0] == [0, 1, 2]
        assert surrogate.most_promising(same[:2], 5)[0] == [0, 1]

    def test_a_trial_under_way_is_believed_at_its_mean_and_asked_no_more(self) -> None:
        known = random_networks(20, 1)
        surrogate = fitted(known, measured(known, 3))
        first = np.argmax(surrogate.improvement(surrogate.predict(EVERY)))
        believed = surrogate.believing(EVERY[first : first + 1])
        before, after = surrogate.predict(EVERY), believed.predict(EVERY)
        np.testing.assert_allclose(after.mean, before.mean, rtol=1e-6)
        assert (after.std <= before.std + 1e-9).all()
        assert believed.improvement(after)[first] < 0.2 * surrogate.improvement(before)[first]
        assert len(believed.left_one_out().log_scores) == 20
        assert surrogate.believing(EVERY[:0]) is surrogate


class TestPlantedFunction:
    def test_its_intervals_cover_what_they_say(self) -> None:
        inside, left_out = [], []
        for count in (12, 20, 40):
            for seed in range(6):
                known, asked = random_networks(count, seed, 1), random_networks(300, seed, 2)
                surrogate = fitted(known, measured(known, seed, 3))
                low, high = surrogate.predict(asked).interval()
                fresh = np.array(measured(asked, seed, 4), dtype=np.float64)
                inside.append(((low <= fresh) & (fresh <= high)).mean())
                left_out.append(surrogate.left_one_out().coverage())
        assert 0.80 <= np.mean(inside) <= 0.97
        assert 0.80 <= np.mean(left_out) <= 0.97

    def test_asking_where_most_is_expected_finds_the_best_long_before_chance(self) -> None:
        feasible = EVERY[::7]
        truth, noise = planted(feasible), np.random.default_rng(1)
        tried = [int(place) for place in noise.choice(len(feasible), 5, replace=False)]
        scores: list[float | None] = [float(truth[place] + NOISE * noise.normal()) for place in tried]
        for _ in range(25):
            surrogate = fitted(feasible[tried], scores)
            gains = surrogate.improvement(surrogate.predict(feasible))
            gains[tried] = -1
            tried.append(int(np.argmax(gains)))
            scores.append(float(truth[tried[-1]] + NOISE * noise.normal()))
        assert (truth < truth[tried].min()).sum() <= 10  # of 6,782, where 30 at random leave about 220

    def test_it_says_which_way_each_number_moves_the_score(self) -> None:
        known = random_networks(40, 1)
        surrogate = fitted(known, measured(known, 3))
        here = networks(np.array([UNetSpec.parse("b16-n2-m1.2.2.2-a0100").row]), "ddpm")
        wider, attentive = here.copy(), here.copy()
        wider[0, 1] *= 2
        attentive[0, 8] = 1  # at stage 3, where it does nothing
        step = surrogate.difference(np.vstack([wider, attentive]), here)
        truth = planted(np.vstack([wider, attentive])) - planted(here)
        assert (np.abs(step.mean - truth) < 2.5 * step.std).all()
        assert step.mean[0] + 1.645 * step.std[0] < 0
        assert abs(step.mean[1]) < 1.645 * step.std[1]


def test_it_is_fitted_in_under_a_second_at_two_hundred_networks() -> None:
    known = random_networks(200, 1)
    scores = measured(known, 3)
    fitted(known[:20], scores[:20])  # imports
    started = time.process_time()
    fitted(known, scores)
    assert time.process_time() - started < 1
