from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diffusion.data.sources import load_digits
from diffusion.errors import UserError
from diffusion.scores.fid import extract_features, feature_statistics
from diffusion.scores.networks import FEATURE_NETWORKS
from diffusion.scores.reference import Reference


@pytest.fixture(scope="module")
def digits() -> NDArray[np.uint8]:
    """(1437, 1, 8, 8)."""
    return load_digits().train[:, None]


class Poisoned:
    """Stands for images that must not be read; only their number may be asked."""

    def __len__(self) -> int:
        return 40

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} of cached images was asked")

    __getitem__ = __getattr__


def poisoned(folder: Path) -> Reference:
    images: Any = Poisoned()
    return Reference(images, "digits-cnn", folder, "aaaa", "train")


def cached(folder: Path, suffix: str) -> Path:
    (found,) = (path for path in folder.iterdir() if path.suffix == suffix)
    return found


def test_statistics_and_features_are_those_of_the_images(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    reference, features = (
        Reference(digits[:40], "digits-cnn", tmp_path, "aaaa", "train"),
        extract_features(digits[:40], "digits-cnn"),
    )
    np.testing.assert_allclose(reference.statistics().sigma, feature_statistics(features).sigma)
    assert reference.statistics().count == 40
    np.testing.assert_array_equal(reference.features(), features.astype(np.float32))


def test_second_call_does_not_read_the_images(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    seen: list[int] = []
    first = Reference(digits[:40], "digits-cnn", tmp_path, "aaaa", "train")
    mu, features = first.statistics(seen.append).mu, first.features(seen.append)
    assert seen == [0, 40], "one pass over the images gives both"
    np.testing.assert_array_equal(poisoned(tmp_path).statistics().mu, mu)
    np.testing.assert_array_equal(poisoned(tmp_path).features(), features)


def test_statistics_alone_are_of_use(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    reference = Reference(digits[:40], "digits-cnn", tmp_path, "aaaa", "train")
    mu, features = reference.statistics().mu, reference.features()
    cached(tmp_path, ".npy").unlink()
    np.testing.assert_array_equal(poisoned(tmp_path).statistics().mu, mu)
    np.testing.assert_array_equal(reference.features(), features)
    assert cached(tmp_path, ".npy").exists()


def test_features_are_kept_of_evenly_spaced_images(
    digits: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffusion.scores.fidelity.MOST_COMPARED", 10)
    whole = extract_features(digits[:40], "digits-cnn").astype(np.float32)
    reference = Reference(digits[:40], "digits-cnn", tmp_path, "aaaa", "train")
    assert reference.statistics().count == 40
    np.testing.assert_array_equal(reference.features(), whole[::4])
    cached(tmp_path, ".npy").unlink()
    seen: list[int] = []
    np.testing.assert_allclose(reference.features(seen.append), whole[::4], rtol=1e-6)
    assert seen == [0, 10]


def test_all_that_matters_is_in_the_files_names(
    digits: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count, fingerprint, split in (
        (40, "aaaa", "train"),
        (40, "bbbb", "train"),
        (40, "aaaa", "test"),
        (41, "aaaa", "train"),
    ):
        Reference(digits[:count], "digits-cnn", tmp_path, fingerprint, split).statistics()
    other = FEATURE_NETWORKS["digits-cnn"].model_copy(update={"sha256": "0" * 64})
    monkeypatch.setattr("diffusion.scores.kept.score_network", lambda _: other)
    Reference(digits[:40], "digits-cnn", tmp_path, "aaaa", "train").statistics()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npy"] * 5 + [".npz"] * 5


def test_a_damaged_file_is_made_anew(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    reference = Reference(digits[:40], "digits-cnn", tmp_path, "aaaa", "train")
    sigma, features = reference.statistics().sigma, reference.features()
    for suffix in (".npz", ".npy"):
        path = cached(tmp_path, suffix)
        content = path.read_bytes()
        for damaged in (b"", b"nonsense", content[:400], content[:-30]):
            path.write_bytes(damaged)
            np.testing.assert_array_equal(reference.statistics().sigma, sigma)
            np.testing.assert_array_equal(reference.features(), features)
            assert path.read_bytes() != damaged
    assert len(list(tmp_path.iterdir())) == 2


def test_features_of_another_shape_or_type_are_not_used(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    reference = Reference(digits[:40], "digits-cnn", tmp_path, "aaaa", "train")
    reference.statistics()
    features = reference.features()
    for wrong in (features[:39], features.astype(np.float64)):
        np.save(cached(tmp_path, ".npy"), wrong)
        np.testing.assert_array_equal(reference.features(), features)


def test_a_stop_leaves_nothing_behind(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done:
            raise KeyboardInterrupt

    for part in (Reference.statistics, Reference.features):
        with pytest.raises(KeyboardInterrupt):
            part(Reference(digits[:40], "digits-cnn", tmp_path / "cache", "aaaa", "train"), stop)
    assert not list((tmp_path / "cache").iterdir())


def test_a_reference_that_is_stopped_goes_on_where_it_was_and_is_the_same_to_the_bit(
    digits: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffusion.scores.parts.WORTH_KEEPING_SECONDS", 0.0)
    whole = Reference(digits, "digits-cnn", tmp_path / "whole", "aaaa", "train")
    expected, seen = whole.statistics(), [0]

    def stop(done: int) -> None:
        computed = done > seen[-1]
        seen.append(done)
        if computed:
            raise KeyboardInterrupt

    for part in (Reference.statistics, Reference.features):
        seen[:] = [0]
        for _ in range(5):  # of six parts
            with pytest.raises(KeyboardInterrupt):
                part(Reference(digits, "digits-cnn", tmp_path / "cut", "aaaa", "train"), stop)
        assert seen == [0, 0, 256, 256, 512, 512, 768, 768, 1024, 1024, 1280], "none is computed twice"
        part(Reference(digits, "digits-cnn", tmp_path / "cut", "aaaa", "train"))
        if part is Reference.statistics:
            cached(tmp_path / "cut", ".npy").unlink()
    cut = Reference(digits, "digits-cnn", tmp_path / "cut", "aaaa", "train")
    np.testing.assert_array_equal(cut.statistics().sigma, expected.sigma)
    np.testing.assert_array_equal(cut.statistics().mu, expected.mu)
    np.testing.assert_array_equal(cut.features(), whole.features())
    assert len(list((tmp_path / "cut").iterdir())) == 2, "the parts are gone"


def test_parts_that_were_left_beside_the_whole_go(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    """A process may be killed between writing the one and removing the others."""
    Reference(digits[:40], "digits-cnn", tmp_path, "aaaa", "train").statistics()
    left = cached(tmp_path, ".npz").with_name(cached(tmp_path, ".npz").stem + "-cpu.parts")
    left.mkdir()
    (left / "00000000-00000256.npz").touch()
    poisoned(tmp_path).statistics()
    assert not left.exists()


def test_one_image_has_no_statistics(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^'1' images are too few"):
        Reference(digits[:1], "digits-cnn", tmp_path, "aaaa", "train").statistics()
