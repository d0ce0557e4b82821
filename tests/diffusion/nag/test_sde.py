import math

import pytest
import torch

from diffusion.nag.sde import Process, matching_loss, sample
from diffusion.streams import generator


def test_levels_fall_geometrically() -> None:
    levels = Process(0.1, 10).levels(3)
    assert levels == pytest.approx([10, 1, 0.1])
    assert Process(0.1, 10).sigma(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx([0.1, 1, 10])


@pytest.mark.parametrize("corrections", [0, 1])
def test_a_gaussian_comes_out_with_its_mean_and_variance(corrections: int) -> None:
    """The score of N(m, s²) under noise is (m - x) / (s² + σ²); the last step keeps s²/(s² + σ_min²) of the rest."""
    mean, std = 0.5, 1.0
    found = sample(
        lambda x, sigma: (mean - x) / (std**2 + sigma[:, None, None] ** 2),
        (2_000, 2, 3),
        generator(0),
        process=Process(0.1, 20),
        steps=100,
        corrections=corrections,
    )
    assert found.mean().item() == pytest.approx(mean, abs=0.06)  # 12,000 numbers of one batch: 3 deviations are 0.03
    assert found.std().item() == pytest.approx(std, abs=0.06)


def test_a_known_graph_is_found_whatever_the_steps() -> None:
    target = torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]])
    found = sample(lambda x, sigma: (target - x) / sigma[:, None, None] ** 2, (4, 2, 2), generator(0), steps=5)
    torch.testing.assert_close(found, target.expand(4, 2, 2))


def test_the_same_seed_gives_the_same_graphs() -> None:
    first, again, other = (
        sample(lambda x, sigma: -x / (1 + sigma[:, None, None] ** 2), (2, 2, 2), generator(seed), steps=5)
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_loss_of_knowing_nothing_is_the_variance_of_the_graphs() -> None:
    clean = torch.ones(500, 2, 2)
    clean[::2] = -1
    nothing = matching_loss(lambda x, sigma: -x / sigma[:, None, None] ** 2, clean, torch.ones(500), generator(0))
    assert nothing.item() == pytest.approx(1)  # E[A_0] = 0 and each number is ±1
    noise = matching_loss(lambda x, sigma: torch.zeros_like(x), clean, torch.full((500,), 3.0), generator(0))
    assert math.sqrt(noise.item()) == pytest.approx(3, rel=0.05)  # the noisy graph taken for the clean one
