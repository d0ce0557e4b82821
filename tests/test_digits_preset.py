"""The preset `digits` as it stands: its models draw digits, and its score knows real digits, models and noise apart.

Networks are trained for as long as the preset trains them, and sampled as it samples; the search's own score is of few
images, since each test scores its images itself. That takes minutes; what is smaller has tests of its own beside it.
"""

from pathlib import Path

import numpy as np
import pytest
from inprocess import InProcessExecutor
from numpy.typing import NDArray
from searches import TinySearch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from diffusion.data.images import open_images
from diffusion.samplers import sample_images
from diffusion.scores.digits_cnn import labelled_digits
from diffusion.scores.fid import extract_features, feature_statistics, frechet_distance
from diffusion.training.checkpoint import ema_model, newest_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SMALLEST = "b8-n1-m1.1.1.1-a0000"  # of the preset's space: the worst model that a search can come upon
PRESET = {
    "train_steps": 600, "batch_size": 128, "num_images": 2, "sampling_steps": 50, "budget": "6M", "rounds": 0,
}  # fmt: skip

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Pixels:
    """The training digits.  (1437, 1, 8, 8)"""
    from diffusion.data.images import prepare_images

    folder = tmp_path_factory.mktemp("data")
    return np.array(open_images(folder, prepare_images("digits", folder).fingerprint).train)


def sampled(folder: Path, baseline: str, count: int) -> Pixels:
    """Images of a spec that was trained and sampled as the preset does.  (count, 1, 8, 8)"""
    search = TinySearch(folder, {**PRESET, "baseline": baseline}, executor=InProcessExecutor())
    search.run()
    run_folder = folder / search.rows("SELECT run_folder FROM trainings")[0]["run_folder"]
    checkpoint = newest_checkpoint(run_folder)
    assert checkpoint is not None
    protocol = search.plan.protocol
    return sample_images(
        ema_model(checkpoint),
        protocol.settings,
        protocol.score.sampling,
        diffusion_steps=protocol.strategy.diffusion_steps,
        indices=range(count),
        seed=0,
    )


def score(images: Pixels, reference: Pixels) -> float:
    statistics = [feature_statistics(extract_features(part, "digits-cnn")) for part in (images, reference)]
    return frechet_distance(*statistics)


@pytest.fixture(scope="module")
def baseline_images(tmp_path_factory: pytest.TempPathFactory) -> Pixels:
    return sampled(tmp_path_factory.mktemp("baseline"), "b16-n1-m1.2.2.2-a0100", 718)


def test_the_score_knows_real_digits_models_and_noise_apart(
    real: Pixels, baseline_images: Pixels, tmp_path: Path
) -> None:
    half, other = real[:718], real[718:1436]  # equal counts, since FID falls with the number of images
    noise = np.random.default_rng(0).integers(0, 256, half.shape, dtype=np.uint8)
    best_model = score(baseline_images, other)
    worst_model = score(sampled(tmp_path, SMALLEST, 718), other)
    assert score(half, other) <= best_model / 3
    assert score(noise, other) >= 5 * worst_model
    assert best_model < worst_model


def test_two_classifiers_read_the_same_digits_in_what_the_baseline_draws(real: Pixels, baseline_images: Pixels) -> None:
    labels = labelled_digits()[0].labels.numpy()
    readers = [make.fit(flat(real), labels) for make in (SVC(gamma=0.001), KNeighborsClassifier(3))]
    noise = np.random.default_rng(0).integers(0, 256, baseline_images.shape, dtype=np.uint8)

    def agreement(images: Pixels) -> float:
        first, second = (reader.predict(flat(images)) for reader in readers)
        return float((first == second).mean())

    assert agreement(baseline_images) > 0.75  # 0.79 with one thread, which trains to other last bits than two
    assert agreement(noise) < 0.5
    assert set(readers[0].predict(flat(baseline_images))) == set(range(10))


def flat(images: Pixels) -> NDArray[np.float64]:
    """Pixels from 0 to 16, as the classifiers of scikit-learn's examples take them.  (N, 64)"""
    return images.reshape(len(images), -1) * (16 / 255)
