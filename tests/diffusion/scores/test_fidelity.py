import numpy as np
import pytest
from numpy.typing import NDArray

from diffusion.scores.fidelity import MOST_COMPARED, evenly_spaced, kernel_distance, precision_recall

Features = NDArray[np.float64]


def normal(seed: int, count: int, width: int = 8, shift: float = 0.0) -> Features:
    return np.random.default_rng(seed).normal(shift, 1, (count, width))


def clusters(seed: int, counts: tuple[int, int]) -> Features:
    """Points about two centres that are a hundred deviations apart."""
    return np.concatenate([normal(seed, counts[0]), normal(seed + 1, counts[1], shift=100)])


def mmd2_by_definition(x: Features, y: Features) -> float:
    """Gretton et al. 2012, Equation 3, with the kernel of Bińkowski et al. 2018: sums over all pairs i ≠ j."""

    def kernel(a: Features, b: Features) -> float:
        return float((sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3)

    n, m = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def shares_by_definition(generated: Features, real: Features, k: int) -> tuple[float, float]:
    """Kynkäänniemi et al. 2019, Equations 1 and 2, point by point."""

    def covered(points: Features, manifold: Features) -> float:
        within = 0
        for point in points:
            for centre in manifold:
                radius = np.sort(np.linalg.norm(manifold - centre, axis=1))[k]  # the 0th is the centre itself
                if np.linalg.norm(point - centre) <= radius:
                    within += 1
                    break
        return within / len(points)

    return covered(generated, real), covered(real, generated)


@pytest.fixture
def _small_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of the usual size, to be quick."""
    monkeypatch.setattr("diffusion.scores.fidelity.KID_SUBSET_SIZE", 200)


class TestKernelDistance:
    def test_it_is_the_unbiased_mmd_of_the_cubic_kernel(self) -> None:
        x, y = normal(0, 40), normal(1, 40, shift=0.3)
        assert kernel_distance(x, y).mean == pytest.approx(mmd2_by_definition(x, y), rel=1e-9)

    def test_subsets_of_the_larger_set_are_compared_with_all_of_the_smaller(self) -> None:
        x, y = normal(0, 60), normal(1, 20, shift=0.5)
        found = kernel_distance(x, y)
        # the mean over 100 subsets scatters by a tenth of their deviation
        assert abs(found.mean - mmd2_by_definition(x, y)) < 0.4 * found.std

    @pytest.mark.usefixtures("_small_subsets")
    def test_sets_of_one_distribution_are_at_zero_within_the_deviation(self) -> None:
        found = kernel_distance(normal(0, 600), normal(1, 600))
        assert 0 < found.std < 0.05 and abs(found.mean) < found.std

    @pytest.mark.usefixtures("_small_subsets")
    def test_a_set_and_itself_are_at_zero_but_for_the_pairs_of_a_point_with_itself(self) -> None:
        x = normal(0, 1000)
        kernel = (x @ x.T / 8 + 1) ** 3
        alone = np.trace(kernel) / 1000
        others = (kernel.sum() - np.trace(kernel)) / (1000 * 999)
        found = kernel_distance(x, x)
        # two subsets share a point by chance: each of the 1,000 pairs (i, i) counts in x·y and not in x·x
        assert found.mean == pytest.approx(-2 * (alone - others) / 1000, abs=0.3 * found.std)
        assert 0 < found.std < 0.05 and abs(found.mean) < 2 * found.std

    @pytest.mark.usefixtures("_small_subsets")
    def test_sets_of_two_distributions_are_far_beyond_the_deviation(self) -> None:
        found = kernel_distance(normal(0, 600), normal(1, 600, shift=0.5))
        assert found.mean > 5 * found.std

    def test_it_grows_with_the_shift_and_is_symmetric(self) -> None:
        real = normal(0, 300)
        found = [kernel_distance(normal(1, 300, shift=shift), real).mean for shift in (0, 0.2, 0.4, 0.8)]
        assert found == sorted(found)
        there, back = kernel_distance(normal(1, 300), real), kernel_distance(real, normal(1, 300))
        assert there.mean == pytest.approx(back.mean, rel=1e-9)

    def test_it_repeats_itself(self) -> None:
        x, y = normal(0, 60), normal(1, 50)
        assert kernel_distance(x, y) == kernel_distance(x.copy(), y.copy())

    def test_up_to_a_thousand_images_have_no_deviation(self) -> None:
        assert kernel_distance(normal(0, 1000), normal(1, 1000)).std == 0

    def test_single_precision_serves(self) -> None:
        x, y = normal(0, 200), normal(1, 200, shift=0.3)
        assert kernel_distance(x, y.astype(np.float32)).mean == pytest.approx(kernel_distance(x, y).mean, rel=1e-5)


class TestPrecisionRecall:
    def test_a_set_and_itself_share_all(self) -> None:
        for width in (1, 8, 512):
            found = precision_recall(normal(0, 200, width), normal(0, 200, width))
            assert (found.precision, found.recall) == (1, 1)

    def test_a_generator_that_drops_half_is_precise_and_recalls_half(self) -> None:
        real = clusters(0, (300, 300))
        found = precision_recall(real[:300], real)
        assert found.precision == 1 and found.recall == 0.5

    def test_a_generator_that_adds_as_much_recalls_all_with_half_the_precision(self) -> None:
        generated = clusters(0, (300, 300))
        found = precision_recall(generated, generated[:300])
        assert found.precision == 0.5 and found.recall == 1

    def test_a_set_far_away_shares_nothing(self) -> None:
        found = precision_recall(normal(0, 200), normal(1, 200, shift=50))
        assert (found.precision, found.recall) == (0, 0)

    def test_far_from_the_origin_small_distances_still_count(self) -> None:
        near, far = (precision_recall(normal(0, 150) + at, normal(1, 150) + at) for at in (0, 1e5))
        assert near == far

    def test_it_is_what_the_definition_says(self) -> None:
        generated, real = normal(0, 90, 3), normal(1, 70, 3, shift=0.7)
        found = precision_recall(generated, real)
        expected = shares_by_definition(generated, real, k=3)
        assert (found.precision, found.recall) == pytest.approx(expected, abs=1e-6)  # torch's shares are single
        assert 0.2 < expected[0] < 1 and expected[0] != expected[1]

    def test_two_images_can_be_compared(self) -> None:
        found = precision_recall(normal(0, 2), normal(0, 2))
        assert (found.precision, found.recall) == (1, 1)


class TestEvenlySpaced:
    @pytest.mark.parametrize("count", [0, 1, 9_999, 10_000])
    def test_few_images_are_all_taken(self, count: int) -> None:
        np.testing.assert_array_equal(evenly_spaced(count), np.arange(count))

    @pytest.mark.parametrize("count", [10_001, 15_000, 50_000])
    def test_many_images_are_thinned_all_over(self, count: int) -> None:
        found = evenly_spaced(count)
        assert len(found) == MOST_COMPARED == len(np.unique(found)) and found[0] == 0
        gaps = np.diff([*found, count])
        assert gaps.min() == count // MOST_COMPARED and gaps.max() <= -(-count // MOST_COMPARED)

    def test_the_others_are_not_looked_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("diffusion.scores.fidelity.MOST_COMPARED", 100)
        few, many = normal(0, 100), np.full((250, 8), np.nan)
        many[evenly_spaced(250)] = few
        assert kernel_distance(many, few) == kernel_distance(few, few)
        assert precision_recall(many, few).precision == precision_recall(few, many).recall == 1
