"""The shipped features see what a score of generated digits must see. Figures: measured when the weights were made."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from diffusion.data.sources import load_digits
from diffusion.errors import UserError
from diffusion.scores.digits_cnn import FEATURES, accuracy, labelled_digits, load_digits_cnn, recipe, train
from diffusion.scores.fid import extract_features, feature_statistics, frechet_distance
from diffusion.scores.networks import DIGITS_CNN_WEIGHTS, FEATURE_NETWORKS, file_sha256, score_network

Halves = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Distance = Callable[[NDArray[np.uint8]], float]


@pytest.fixture(scope="module")
def halves() -> Halves:
    """The training digits in two random halves of 718, (718, 8, 8) each."""
    images = load_digits().train
    order = np.random.RandomState(1).permutation(len(images))
    return images[order[:718]], images[order[718:1436]]


@pytest.fixture(scope="module")
def distance(halves: Halves) -> Distance:
    """From one half of the real digits."""
    real = feature_statistics(extract_features(halves[0][:, None], "digits-cnn"))

    def measured(images: NDArray[np.uint8]) -> float:
        return frechet_distance(feature_statistics(extract_features(images[:, None], "digits-cnn")), real)

    return measured


def noisy(images: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(0, sigma, images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def blurred(images: NDArray[np.uint8], radius: float) -> NDArray[np.uint8]:
    blur = ImageFilter.GaussianBlur(radius)
    return np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images])


def uniform(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, images.shape).astype(np.uint8)


def test_noise_moves_the_score_more_the_stronger_it_is(halves: Halves, distance: Distance) -> None:
    scores = [distance(images) for images in (halves[1], *(noisy(halves[1], sigma) for sigma in (10, 20, 40, 80)))]
    scores.append(distance(uniform(halves[1])))
    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(scores)), scores


def test_blur_moves_the_score_more_the_stronger_it_is(halves: Halves, distance: Distance) -> None:
    scores = [
        distance(images) for images in (halves[1], *(blurred(halves[1], radius) for radius in (0.4, 0.6, 0.8, 1.2)))
    ]
    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(scores)), scores


def test_uniform_noise_is_twenty_times_as_far_as_bad_digits(halves: Halves, distance: Distance) -> None:
    worst = max(distance(noisy(halves[1], 40)), distance(blurred(halves[1], 0.6)))
    assert distance(uniform(halves[1])) > 20 * worst


def test_real_digits_are_far_nearer_than_any_fault(halves: Halves, distance: Distance) -> None:
    images, labels = halves[1], labelled_digits()[0].labels.numpy()
    averaged = ((images.astype(np.uint16) + images[::-1]) // 2).astype(np.uint8)  # two digits on top of each other
    faults = {
        "noise of sigma 40": noisy(images, 40),
        "blur": blurred(images, 0.6),
        "two digits in one": averaged,
        "mirrored": images[:, :, ::-1],
        "ones alone": np.resize(load_digits().train[labels == 1], images.shape),
        "shuffled pixels": np.random.default_rng(0).permuted(images.reshape(-1, 64), axis=1).reshape(images.shape),
        "inverted": 255 - images,
        **{f"blank {level}": np.full_like(images, level) for level in (0, 128, 255)},
    }
    real = distance(images)
    for name, fault in faults.items():
        assert distance(fault) > 10 * real, name


def test_flat_pictures_of_all_sizes_have_the_same_features() -> None:
    network = load_digits_cnn()
    for side in (16, 28, 32, 64):
        flat, small = (torch.full((1, 3, size, size), 99, dtype=torch.uint8) for size in (side, 8))
        assert torch.allclose(network(flat), network(small), atol=1e-4)  # single precision


def test_larger_pictures_are_reduced_as_pillow_does() -> None:
    large = np.stack([np.kron(image, np.ones((4, 4), np.uint8)) for image in load_digits().train[:20]])  # (20, 32, 32)
    by_pillow = [np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BILINEAR)) for image in large]
    ours, theirs = (extract_features(images[:, None], "digits-cnn") for images in (large, np.stack(by_pillow)))
    # Pillow rounds to bytes: an error of 1/255/√12 a pixel, where digits vary by 0.4
    assert np.square(ours - theirs).mean() < 1e-3 * ours.var()


def test_shipped_weights_are_small_and_say_how_they_were_made() -> None:
    stated = recipe()
    assert DIGITS_CNN_WEIGHTS.stat().st_size < 1_000_000
    assert float(stated["held_out_accuracy"]) >= 0.97
    assert stated["made_by"] == "python -m diffusion.digits_cnn"  # as it was called then; it is part of their hash


def test_recorded_hash_and_size_are_those_of_the_shipped_weights() -> None:
    assert score_network("digits-cnn").sha256 == file_sha256(DIGITS_CNN_WEIGHTS)
    assert FEATURE_NETWORKS["digits-cnn"].num_features == FEATURES


def test_other_weights_than_the_shipped_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(DIGITS_CNN_WEIGHTS.read_bytes())
    content[-1] ^= 1
    (tmp_path / "weights").write_bytes(content)
    for path in (tmp_path / "weights", tmp_path / "absent"):
        monkeypatch.setattr("diffusion.scores.networks.DIGITS_CNN_WEIGHTS", path)
        with pytest.raises(UserError, match="is not the file that ships"):
            load_digits_cnn()


@pytest.mark.slow
def test_training_repeats_itself_and_learns() -> None:
    digits, held_out = labelled_digits()
    (network, classes), (again, _) = train(digits, steps=60), train(digits, steps=60)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    assert accuracy(network, classes, held_out) > 0.5  # a tenth by chance
