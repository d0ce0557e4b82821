import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion.errors import UserError
from diffusion.nag.closed_form import product_score
from diffusion.nag.graphs import scaled
from diffusion.nag.guidance import CostBetween, GoodRank, Guide, guided
from diffusion.nag.nasbench201 import nasbench201
from diffusion.nag.predictor import PredictorTraining, RankEnsemble, fit_ranks
from diffusion.streams import generator

CELLS = nasbench201()
PRIOR = product_score(CELLS)
CONVOLUTION = 2 + 3  # the column of nor_conv_3x3


@dataclass
class Linear:
    """log f = ⟨slope, x⟩: what guidance is, is known."""

    slope: Tensor
    name: str = "linear"

    def log_likelihood(self, x: Tensor, sigma: Tensor) -> Tensor:
        return (self.slope * x).flatten(1).sum(dim=1)


def noisy(sigma: float = 0.7, count: int = 16) -> tuple[Tensor, Tensor]:
    clean = scaled(CELLS.sample(count, generator(0, "cells")))
    return clean + sigma * torch.randn(clean.shape, generator=generator(0, "noise")), torch.full((count,), sigma)


def labelled(count: int) -> tuple[Tensor, np.ndarray]:
    """Cells, the better the more 3×3 convolutions they have."""
    graphs = CELLS.sample(count, generator(0, "labelled"))
    return graphs, graphs[:, :, CONVOLUTION].sum(dim=1).numpy().astype(np.float64)


@pytest.fixture(scope="module")
def ensemble() -> RankEnsemble:
    return fit_ranks(PRIOR, *labelled(60), allowed=CELLS.allowed, training=PredictorTraining(steps=150))


def test_properties_add_up_each_with_its_scale() -> None:
    x, sigma = noisy()
    one, other = torch.randn(8, 7, generator=generator(1)) / 100, torch.randn(8, 7, generator=generator(2)) / 100
    steered = guided(PRIOR.score, [Guide(Linear(one), 2.0), Guide(Linear(other), -0.5)])
    torch.testing.assert_close(steered(x, sigma), PRIOR.score(x, sigma) + 2 * one - 0.5 * other)


def test_no_guidance_is_longer_than_its_cap() -> None:
    x, sigma = noisy()
    score = PRIOR.score(x, sigma)
    added = guided(PRIOR.score, [Guide(Linear(1e6 * torch.ones(8, 7)))], cap=0.5)(x, sigma) - score
    torch.testing.assert_close(added.flatten(1).norm(dim=1), 0.5 * score.flatten(1).norm(dim=1))


def test_guidance_of_scale_zero_is_none() -> None:
    x, sigma = noisy()
    steered = guided(PRIOR.score, [Guide(Linear(torch.full((8, 7), math.nan)), 0.0)])
    assert torch.equal(steered(x, sigma), PRIOR.score(x, sigma))


def test_guidance_that_is_not_a_number_is_refused_in_one_sentence() -> None:
    steered = guided(PRIOR.score, [Guide(Linear(torch.full((8, 7), math.nan)))])
    with pytest.raises(UserError, match=r"^'linear' gives guidance that is not a number at noise 0.7; look at"):
        steered(*noisy())


def test_ranks_are_learned_and_judged_by_what_was_left_out(ensemble: RankEnsemble) -> None:
    graphs, goodness = labelled(400)
    unseen = ensemble.ranks_of(graphs).mean(dim=0).numpy()[60:]
    true = float(np.corrcoef(unseen, goodness[60:])[0, 1])
    assert true > 0.9
    assert ensemble.correlation == pytest.approx(true, abs=0.15)


def test_what_is_learned_of_a_network_holds_in_every_spelling() -> None:
    """Half of the labelled cells are known to be the same with their first two edges exchanged."""
    graphs, _ = labelled(60)
    goodness = graphs[:, 1, CONVOLUTION].numpy() + graphs[:, 2, CONVOLUTION].numpy().astype(np.float64)
    swapped = graphs[:, [0, 2, 1, 3, 4, 5, 6, 7]]
    spelled = [torch.stack(pair) for pair in zip(graphs, swapped, strict=True)]
    training = PredictorTraining(steps=100)
    one, both = (
        fit_ranks(PRIOR, each, goodness, allowed=CELLS.allowed, training=training) for each in (graphs, spelled)
    )
    apart = [(each.ranks_of(graphs) - each.ranks_of(swapped)).abs().mean() for each in (one, both)]
    assert apart[1] < 0.8 * apart[0]


def test_a_good_rank_points_to_what_is_better(ensemble: RankEnsemble) -> None:
    x, sigma = noisy()
    score = PRIOR.score(x, sigma)
    added = guided(PRIOR.score, [Guide(GoodRank(ensemble))])(x, sigma) - score
    towards = added[:, 1:7, CONVOLUTION].mean()
    others = added[:, 1:7, [2, 3, 4, 6]].mean()
    assert towards > 0 > others


def test_a_predictor_that_knows_nothing_does_not_steer() -> None:
    graphs, _ = labelled(40)
    luck = np.random.default_rng(3).permutation(40).astype(np.float64)
    ensemble = fit_ranks(PRIOR, graphs, luck, allowed=CELLS.allowed, training=PredictorTraining(steps=50))
    assert abs(ensemble.correlation) < 0.5
    ensemble.correlation = 0.0
    x, sigma = noisy()
    assert torch.equal(guided(PRIOR.score, [Guide(GoodRank(ensemble))])(x, sigma), PRIOR.score(x, sigma))


def test_confidence_grows_with_the_correlation(ensemble: RankEnsemble) -> None:
    good = GoodRank(ensemble)
    known, found = ensemble.correlation, []
    for correlation in (-0.5, 0.0, 0.5, 0.8, 1.0):
        ensemble.correlation = correlation
        found.append(good.confidence)
    ensemble.correlation = known
    assert found[:3] == [0, 0, pytest.approx(0.5 / 0.75)]
    assert found[2] < found[3] < found[4] < math.inf


@pytest.mark.parametrize("count", [1, 4])
def test_few_labels_teach_nothing_and_break_nothing(count: int) -> None:
    graphs, goodness = labelled(count)
    ensemble = fit_ranks(PRIOR, graphs, goodness, allowed=CELLS.allowed, training=PredictorTraining(steps=3))
    assert ensemble.correlation == 0 and ensemble.ranks_of(graphs).isfinite().all()


def test_a_failure_is_the_worst() -> None:
    graphs, goodness = labelled(30)
    failed = goodness.copy()
    failed[:10] = -math.inf
    training = PredictorTraining(steps=100)
    ensemble = fit_ranks(PRIOR, graphs, failed, allowed=CELLS.allowed, training=training)
    ranks = ensemble.ranks_of(graphs).mean(dim=0)
    assert ranks.isfinite().all() and ranks[:10].mean() < ranks[10:].mean()


def test_a_barrier_pushes_back_what_is_too_dear_and_what_is_too_cheap() -> None:
    def expected(soft: Tensor) -> Tensor:
        return 100 * soft[:, 1:7, CONVOLUTION].sum(dim=1)  # 600 for a cell of convolutions

    cheap, dear = (0,) * 6, (3,) * 6
    x, sigma = CELLS.encode([cheap, dear]), torch.full((2,), 0.7)
    above = CostBetween(PRIOR, expected, most=300)
    found = guided(PRIOR.score, [Guide(above)])(x, sigma) - PRIOR.score(x, sigma)
    assert (found[0] == 0).all() and (found[1, 1:7, CONVOLUTION] < 0).all()
    within = CostBetween(PRIOR, expected, most=300, least=200)
    found = guided(PRIOR.score, [Guide(within)])(x, sigma) - PRIOR.score(x, sigma)
    assert (found[0, 1:7, CONVOLUTION] > 0).all() and (found[1, 1:7, CONVOLUTION] < 0).all()
