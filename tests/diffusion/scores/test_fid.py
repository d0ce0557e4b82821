from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray

from diffusion.data.sources import load_digits
from diffusion.errors import UserError
from diffusion.scores.fid import Statistics, extract_features, feature_statistics, frechet_distance

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits() -> NDArray[np.uint8]:
    """(1437, 1, 8, 8)."""
    return load_digits().train[:, None]


def gaussian(mu: Any, sigma: Any) -> Statistics:
    return Statistics(np.asarray(mu, np.float64), np.asarray(sigma, np.float64), 1000)


class TestDistance:
    def test_distance_to_itself_is_zero(self, digits: NDArray[np.uint8]) -> None:
        real = feature_statistics(extract_features(digits, "digits-cnn"))
        # eigenvalues of a product are good to about 1e-16 × its size, their roots to 1e-8; 32 are summed
        assert frechet_distance(real, real) == pytest.approx(0, abs=1e-6)

    def test_distance_is_symmetric(self) -> None:
        a, b = (feature_statistics(RNG.normal(size=(200, 16)) * RNG.uniform(0.5, 2, 16)) for _ in range(2))
        assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)

    def test_distance_in_one_dimension_is_the_closed_form(self) -> None:
        a, b = gaussian([1.0], [[4.0]]), gaussian([4.0], [[0.25]])
        assert frechet_distance(a, b) == pytest.approx((1 - 4) ** 2 + (2 - 0.5) ** 2, rel=1e-12)

    def test_distance_of_diagonal_gaussians_is_the_closed_form(self) -> None:
        (mu1, mu2), (s1, s2) = RNG.normal(size=(2, 24)), RNG.uniform(0.1, 3, (2, 24))
        expected = ((mu1 - mu2) ** 2).sum() + ((s1 - s2) ** 2).sum()
        found = frechet_distance(gaussian(mu1, np.diag(s1**2)), gaussian(mu2, np.diag(s2**2)))
        assert found == pytest.approx(expected, rel=1e-9)

    def test_distance_of_correlated_gaussians_is_the_closed_form(self) -> None:
        # x → A x with a symmetric positive A is the optimal transport from N(0, Σ) to N(0, AΣA) (Brenier), so the
        # squared distance is E|x - A x|² = tr((I - A) Σ (I - A)); the two covariances do not commute
        (first, second), mu = RNG.normal(size=(2, 12, 12)), RNG.normal(size=(2, 12))
        sigma, a = first @ first.T, second @ second.T / 12 + 0.1 * np.eye(12)
        expected = ((mu[0] - mu[1]) ** 2).sum() + np.trace((np.eye(12) - a) @ sigma @ (np.eye(12) - a))
        found = frechet_distance(gaussian(mu[0], sigma), gaussian(mu[1], a @ sigma @ a))
        assert found == pytest.approx(expected, rel=1e-9)

    def test_samples_of_a_gaussian_have_nearly_its_distance(self) -> None:
        scale = np.array([[2.0, 0.0], [1.5, 0.5]])
        samples = [RNG.normal(size=(200_000, 2)), RNG.normal(size=(200_000, 2)) @ scale.T + 3]
        expected = frechet_distance(gaussian([0, 0], np.eye(2)), gaussian([3, 3], scale @ scale.T))
        found = frechet_distance(*(feature_statistics(part) for part in samples))
        assert found == pytest.approx(expected, rel=0.01)  # means and deviations are good to 1/√200,000 = 0.002

    def test_distance_agrees_with_an_independent_one_on_the_same_features(self, digits: NDArray[np.uint8]) -> None:
        parts = [extract_features(part, "digits-cnn") for part in (digits[:400], digits[400:] // 2)]
        mu, sigma = zip(*((part.mean(axis=0), np.cov(part.T)) for part in parts), strict=True)
        root = scipy.linalg.sqrtm(sigma[0] @ sigma[1]).real
        expected = ((mu[0] - mu[1]) ** 2).sum() + np.trace(sigma[0] + sigma[1] - 2 * root)
        assert frechet_distance(*map(feature_statistics, parts)) == pytest.approx(expected, rel=1e-3)

    def test_distance_does_not_depend_on_the_batch_size(self, digits: NDArray[np.uint8]) -> None:
        found = [
            frechet_distance(
                *(
                    feature_statistics(extract_features(part, "digits-cnn", batch_size=batch_size))
                    for part in (digits[:100], digits[100:200] // 2)
                )
            )
            for batch_size in (100, 7, 1)
        ]
        assert found == pytest.approx([found[0]] * 3, rel=1e-9)

    def test_blank_images_have_a_finite_distance(self, digits: NDArray[np.uint8]) -> None:
        real, blank = (
            feature_statistics(extract_features(images, "digits-cnn")) for images in (digits, np.zeros_like(digits[:9]))
        )
        assert np.isfinite(frechet_distance(real, blank))

    @pytest.mark.parametrize("count", [0, 1])
    def test_fewer_than_two_images_are_refused(self, digits: NDArray[np.uint8], count: int) -> None:
        with pytest.raises(UserError, match=f"^'{count}' images are too few"):
            feature_statistics(extract_features(digits[:count], "digits-cnn"))

    def test_statistics_are_mean_and_unbiased_covariance(self) -> None:
        values = RNG.normal(size=(50, 3))
        found, centred = feature_statistics(values), values - values.mean(axis=0)
        np.testing.assert_allclose(found.mu, values.mean(axis=0))
        np.testing.assert_allclose(found.sigma, centred.T @ centred / 49)
        assert found.count == 50 and feature_statistics(values[:, :1]).sigma.shape == (1, 1)


class TestFeatures:
    def test_features_do_not_depend_on_the_batch_size(self, digits: NDArray[np.uint8]) -> None:
        whole = extract_features(digits[:100], "digits-cnn")
        assert whole.shape == (100, 32) and whole.dtype == np.float64
        for batch_size in (1, 7, 64):
            # double precision: sums of at most 1,024 terms in another order
            np.testing.assert_allclose(
                extract_features(digits[:100], "digits-cnn", batch_size=batch_size), whole, rtol=1e-9, atol=1e-12
            )

    def test_grey_images_are_repeated_to_rgb(self, digits: NDArray[np.uint8]) -> None:
        rgb = np.repeat(digits[:20], 3, axis=1)
        np.testing.assert_allclose(extract_features(digits[:20], "digits-cnn"), extract_features(rgb, "digits-cnn"))

    def test_read_only_maps_are_accepted(self, digits: NDArray[np.uint8], tmp_path: Path) -> None:
        np.save(tmp_path / "images.npy", digits[:8])
        mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
        np.testing.assert_array_equal(
            extract_features(mapped, "digits-cnn"), extract_features(digits[:8], "digits-cnn")
        )

    def test_progress_counts_the_images_that_are_done(self, digits: NDArray[np.uint8]) -> None:
        seen: list[int] = []
        extract_features(digits[:10], "digits-cnn", batch_size=4, on_progress=seen.append)
        assert seen == [4, 8, 10]

    def test_what_progress_raises_ends_the_work(self, digits: NDArray[np.uint8]) -> None:
        seen: list[int] = []

        def enough(done: int) -> None:
            seen.append(done)
            if done >= 8:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            extract_features(digits[:100], "digits-cnn", batch_size=4, on_progress=enough)
        assert seen == [4, 8]

    @pytest.mark.parametrize("images", [np.zeros((4, 1, 8, 8)), np.zeros((4, 8, 8), np.uint8)])
    def test_images_of_another_kind_are_refused(self, images: Any) -> None:
        with pytest.raises(ValueError, match="images must be uint8"):
            extract_features(images, "digits-cnn")

    def test_torch_fidelity_itself_gives_the_same_distance(self, digits: NDArray[np.uint8]) -> None:
        from torch.utils.data import Dataset
        from torch_fidelity import calculate_metrics

        class Pictures(Dataset[torch.Tensor]):
            def __init__(self, images: NDArray[np.uint8]) -> None:
                self.images = torch.from_numpy(np.repeat(images, 3, axis=1))

            def __len__(self) -> int:
                return len(self.images)

            def __getitem__(self, index: int) -> torch.Tensor:
                return self.images[index]

        found = calculate_metrics(
            input1=Pictures(digits[:150]),
            input2=Pictures(digits[150:400]),
            fid=True,
            feature_extractor="digits-cnn",
            cuda=False,
            save_cpu_ram=True,
            verbose=False,
            cache=False,
        )["frechet_inception_distance"]
        a, b = (feature_statistics(extract_features(part, "digits-cnn")) for part in (digits[:150], digits[150:400]))
        assert frechet_distance(a, b) == pytest.approx(found, rel=1e-9)
