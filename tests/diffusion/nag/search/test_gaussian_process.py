import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from diffusion.nag.search.acquisition import log_expected_improvement
from diffusion.nag.search.gaussian_process import GaussianProcess, Kernel, covariance, view

RNG = np.random.default_rng(0)
POINTS = view(RNG.normal(size=(60, 3)))
OTHERS = view(RNG.normal(size=(60, 2)))
OBSERVED = [4, 17, 30, 2, 44, 9, 51]
TARGETS = np.array([0.3, -1.2, 0.9, 1.4, -0.6, -0.4, 0.2])
KERNEL = Kernel((1.0,), (0.7,), 0.05)


def test_a_view_sets_random_members_one_apart_in_the_root_of_the_mean_square() -> None:
    squared = ((POINTS[:, None] - POINTS[None]) ** 2).sum(axis=-1)
    assert squared.mean() == pytest.approx(1, rel=1e-4)


def test_one_kernel_agrees_with_scikit_learn() -> None:
    process = GaussianProcess([POINTS], [KERNEL], OBSERVED)
    belief, weight = process.posterior(TARGETS).beliefs[0], process.posterior(TARGETS).weights
    reference = GaussianProcessRegressor(Matern(0.7, nu=2.5), alpha=0.05, optimizer=None).fit(POINTS[OBSERVED], TARGETS)
    mean, deviation = reference.predict(POINTS, return_std=True)
    gram = reference.kernel_(POINTS[OBSERVED]) + 0.05 * np.eye(len(OBSERVED))
    signal = (TARGETS @ np.linalg.solve(gram, TARGETS) + 2) / (len(OBSERVED) + 2)
    assert weight == pytest.approx([1])
    assert belief.mean == pytest.approx(mean, abs=1e-4)
    assert belief.deviation == pytest.approx(deviation * np.sqrt(signal), abs=2e-3)


def test_kernels_weigh_as_much_as_their_likelihood() -> None:
    kernels = [KERNEL, KERNEL._replace(lengths=(3.0,)), KERNEL._replace(noise=0.5)]
    found = GaussianProcess([POINTS], kernels, OBSERVED).posterior(TARGETS)
    logs = []
    for kernel in kernels:  # by the multivariate Student's t that integrating the signal's variance out leaves
        gram = Matern(kernel.lengths[0], nu=2.5)(POINTS[OBSERVED]) + kernel.noise * np.eye(len(OBSERVED))
        fit = 1 + 0.5 * TARGETS @ np.linalg.solve(gram, TARGETS)
        logs.append(-0.5 * np.linalg.slogdet(gram)[1] - (1 + 0.5 * len(OBSERVED)) * np.log(fit))
    expected = np.exp(logs) / np.exp(logs).sum()
    assert found.weights == pytest.approx(expected, rel=1e-3)
    assert found.mean() == pytest.approx(expected @ np.array([each.mean for each in found.beliefs]), abs=1e-3)
    worth = [np.exp(log_expected_improvement(each, each.mean[OBSERVED].max())) for each in found.beliefs]
    assert found.log_expected_improvement(OBSERVED) == pytest.approx(np.log(expected @ np.array(worth)), abs=2e-3)


def test_views_are_added_by_their_weights() -> None:
    both = Kernel((0.3, 0.7), (0.7, 2.0), 0.05)
    distances = [np.sqrt(((each - each[0]) ** 2).sum(axis=1)) for each in (POINTS, OTHERS)]
    expected = 0.3 * Matern(0.7, nu=2.5)(POINTS[:1], POINTS) + 0.7 * Matern(2.0, nu=2.5)(OTHERS[:1], OTHERS)
    assert covariance(both, distances) == pytest.approx(expected[0], abs=1e-5)


def test_the_same_member_twice_is_known_better_and_breaks_nothing() -> None:
    once = GaussianProcess([POINTS], [KERNEL], [4]).posterior(np.array([1.0])).beliefs[0]
    twice = GaussianProcess([POINTS], [KERNEL], [4, 4]).posterior(np.array([1.0, 1.0])).beliefs[0]
    assert once.mean[4] == pytest.approx(1 / 1.05, abs=1e-5)
    assert twice.mean[4] == pytest.approx(1 / 1.025, abs=1e-4)
    exact = GaussianProcess([POINTS], [KERNEL._replace(noise=0.0)], [4, 4]).posterior(np.array([1.0, 1.0]))
    assert np.isfinite(exact.mean()).all()
