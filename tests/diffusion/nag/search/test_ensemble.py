import time

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from diffusion.nag.search.ensemble import Ensemble, Recipe, normal_scores


def cells(count: int, seed: int) -> torch.Tensor:
    """Six choices of five, one-hot."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.one_hot(torch.randint(5, (count, 6), generator=generator), 5).flatten(1).float()


def additive(features: torch.Tensor) -> np.ndarray:
    """A score that is a sum over choices, the sum known."""
    weights = torch.linspace(-1, 1, features.shape[1])
    return (features @ weights).double().numpy()


def test_normal_scores_are_quantiles_at_the_middle_of_each_rank() -> None:
    assert normal_scores(np.array([3.0, -50.0, 90.0])) == pytest.approx([0, -0.967422, 0.967422])  # Φ⁻¹(1/6)
    assert normal_scores(np.array([1.0, 1.0])).tolist() == [0, 0]


def test_it_ranks_what_it_has_not_seen_and_says_how_well() -> None:
    seen, unseen = cells(60, seed=0), cells(500, seed=1)
    fitted = Ensemble.fit(seen, additive(seen), seed=0)
    truth = spearmanr(fitted.belief(unseen).mean, additive(unseen)).statistic
    assert truth > 0.9
    assert fitted.out_of_bag() == pytest.approx(truth, abs=0.1)
    assert fitted.best == pytest.approx(fitted.members(seen).mean(axis=0).max())


def test_of_scores_that_mean_nothing_it_knows_nothing() -> None:
    found = []
    for seed in range(8):
        seen = cells(40, seed)
        found.append(Ensemble.fit(seen, np.random.default_rng(seed).normal(size=40), seed).out_of_bag())
    assert abs(np.mean(found)) < 0.2  # ρ of 40 unrelated pairs deviates by 0.16, the mean of eight by 0.06


def test_only_ranks_matter_so_that_failures_crush_nothing() -> None:
    seen, unseen = cells(30, seed=0), cells(50, seed=1)
    scores = additive(seen)
    stretched = np.where(scores == scores.min(), -1e6, np.exp(scores))
    one, other = (Ensemble.fit(seen, each, seed=3).members(unseen) for each in (scores, stretched))
    assert (one == other).all()


def test_all_members_at_once_are_each_one_alone() -> None:
    seen, scores = cells(20, seed=0), additive(cells(20, seed=0))
    recipe = Recipe(members=4, steps=30)
    fitted = Ensemble.fit(seen, scores, seed=0, recipe=recipe)
    for member in range(recipe.members):
        hidden = seen - fitted.centre
        for place, (weight, bias) in enumerate(fitted.layers):
            hidden = (hidden if place == 0 else hidden.relu()) @ weight[member] + bias[member]
        assert fitted.on_rows[member] == pytest.approx(hidden[:, 0].numpy(), abs=1e-5)
    assert 0 < fitted.left_out.mean() < 0.7  # (1 - 1/n)ⁿ is 0.36 on average
    assert np.ptp(fitted.members(seen), axis=0).min() > 0


def test_rows_alike_or_too_few_have_no_rank_correlation() -> None:
    assert Ensemble.fit(cells(2, seed=0), np.array([1.0, 2.0]), seed=0).out_of_bag() == 0
    assert Ensemble.fit(cells(9, seed=0), np.ones(9), seed=0).out_of_bag() == 0


@pytest.mark.parametrize("scores", [[1.0], [1.0, float("nan")], [1.0, float("-inf")]])
def test_scores_without_a_rank_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="it takes two or more, all finite"):
        Ensemble.fit(cells(len(scores), seed=0), np.array(scores), seed=0)


def test_a_fit_of_sixty_rows_takes_a_fraction_of_a_second() -> None:
    seen = cells(60, seed=0)
    Ensemble.fit(seen, additive(seen), seed=0)
    before = time.process_time()
    Ensemble.fit(seen, additive(seen), seed=1)
    assert time.process_time() - before < 1.0  # 0.14 s measured on one core
