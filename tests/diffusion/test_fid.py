import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

from diffusion import features
from diffusion.errors import UserError
from diffusion.features import feature_extractor, inception_weights
from diffusion.fid import Statistics, extract_features, feature_statistics, frechet_distance, reference_statistics
from diffusion.networks import FEATURE_NETWORKS, FeatureNetwork
from diffusion.sources import load_digits

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

    def test_distance_agrees_with_a_matrix_square_root(self, digits: NDArray[np.uint8]) -> None:
        a, b = (feature_statistics(extract_features(part, "digits-cnn")) for part in (digits[:400], digits[400:] // 2))
        root = scipy.linalg.sqrtm(a.sigma @ b.sigma).real
        expected = ((a.mu - b.mu) ** 2).sum() + np.trace(a.sigma + b.sigma - 2 * root)
        assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-3)

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


class Poisoned:
    """Stands for images that must not be read; only their number may be asked."""

    def __len__(self) -> int:
        return 40

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} of cached images was asked")

    __getitem__ = __getattr__


class TestReferenceCache:
    def test_second_call_does_not_read_the_images(self, digits: NDArray[np.uint8], tmp_path: Path) -> None:
        first = reference_statistics(digits[:40], "digits-cnn", tmp_path, "aaaa", "train")
        poisoned: Any = Poisoned()
        second = reference_statistics(poisoned, "digits-cnn", tmp_path, "aaaa", "train")
        assert second.count == 40
        np.testing.assert_array_equal(first.mu, second.mu)
        np.testing.assert_array_equal(first.sigma, second.sigma)

    def test_all_that_matters_is_in_the_files_name(
        self, digits: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reference_statistics(digits[:40], "digits-cnn", tmp_path, "aaaa", "train")
        reference_statistics(digits[:40], "digits-cnn", tmp_path, "bbbb", "train")
        reference_statistics(digits[:40], "digits-cnn", tmp_path, "aaaa", "test")
        reference_statistics(digits[:41], "digits-cnn", tmp_path, "aaaa", "train")
        other = FEATURE_NETWORKS["digits-cnn"].model_copy(update={"sha256": "0" * 64})
        monkeypatch.setattr("diffusion.fid.score_network", lambda _: other)
        reference_statistics(digits[:40], "digits-cnn", tmp_path, "aaaa", "train")
        assert len(list(tmp_path.iterdir())) == 5

    def test_damaged_file_is_made_anew(self, digits: NDArray[np.uint8], tmp_path: Path) -> None:
        good = reference_statistics(digits[:40], "digits-cnn", tmp_path, "aaaa", "train")
        (path,) = tmp_path.iterdir()
        content = path.read_bytes()
        for damaged in (b"", b"nonsense", content[:400], content[:-30]):
            path.write_bytes(damaged)
            again = reference_statistics(digits[:40], "digits-cnn", tmp_path, "aaaa", "train")
            np.testing.assert_array_equal(good.sigma, again.sigma)
        assert list(tmp_path.iterdir()) == [path]


class TestInception:
    @pytest.fixture(autouse=True)
    def _own_torch_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def test_without_weights_and_network_the_place_for_the_file_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_network(*_: object, **__: object) -> None:
            raise urllib.error.URLError("no route to host")

        monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
        with pytest.raises(UserError) as caught:
            extract_features(np.zeros((2, 3, 8, 8), np.uint8), "inception-v3-compat")
        text = str(caught.value)
        assert text.startswith("'inception-v3-compat' needs weights that cannot be downloaded")
        assert text.endswith(f"put {URL_INCEPTION_V3} at {tmp_path / 'hub' / 'checkpoints'}/{OFFICIAL_NAME}")

    def test_other_file_of_that_name_is_refused_unread(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "hub" / "checkpoints" / OFFICIAL_NAME
        path.parent.mkdir(parents=True)
        path.write_bytes(b"pickled mischief")
        monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
        with pytest.raises(UserError, match="is not the official Inception of 2015; delete it"):
            feature_extractor("inception-v3-compat")

    def test_recorded_hash_begins_as_the_official_files_name_ends(self) -> None:
        assert Path(OFFICIAL_NAME).stem.split("-")[-1] == FEATURE_NETWORKS["inception-v3-compat"].sha256[:8]

    @pytest.mark.slow
    def test_weights_of_the_right_hash_are_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import hashlib

        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        monkeypatch.setattr(
            "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {}
        )
        with monkeypatch.context() as patch:
            patch.setattr(torch.nn.Module, "load_state_dict", lambda *_: None)
            network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        path = tmp_path / "random.pth"
        torch.save(network.state_dict(), path)
        known: FeatureNetwork = FEATURE_NETWORKS["inception-v3-compat"].model_copy(
            update={"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        )
        monkeypatch.setattr(features, "INCEPTION", known)
        monkeypatch.setitem(FEATURE_NETWORKS, "inception-v3-compat", known)
        monkeypatch.setattr(features, "inception_weights", lambda: inception_weights(path))
        found = extract_features(np.zeros((3, 1, 32, 32), np.uint8), "inception-v3-compat")
        assert found.shape == (3, 2048) and np.isfinite(found).all()


OFFICIAL_NAME = "weights-inception-2015-12-05-6726825d.pth"
