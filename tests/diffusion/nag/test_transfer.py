import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from diffusion.nag.closed_form import product_score
from diffusion.nag.graphs import scaled
from diffusion.nag.guidance import GoodRank, Guide, guided
from diffusion.nag.nasbench201 import nasbench201
from diffusion.nag.transfer import (
    Episode,
    MetaTraining,
    SetConditioned,
    labelled,
    meta_train,
    to_ranks,
    told,
    told_labels,
)

SPACE = nasbench201()
CELLS = SPACE.members()
TRAINING = MetaTraining(width=32, code=8, steps=150, episodes=4, learning_rate=1e-2)
ITEMS = 12


def tastes(which: int) -> np.ndarray:
    """Two data sets of opposite tastes: as many 3×3 as can be, or as few."""
    count = CELLS[:, :, 5].sum(dim=1).double().numpy() + 1e-3 * np.random.default_rng(0).normal(size=len(CELLS))
    return count if which == 0 else -count


def draw(noise: torch.Generator) -> Episode:
    which, chosen = int(torch.randint(2, (1,), generator=noise)), torch.randint(len(CELLS), (60,), generator=noise)
    scores = tastes(which)
    graphs, ranks = CELLS[chosen], torch.from_numpy(to_ranks(scores)[chosen]).float()
    return Episode(labelled(graphs[:ITEMS], scores[chosen[:ITEMS]]), graphs[ITEMS:], ranks[ITEMS:])


@pytest.fixture(scope="module")
def network() -> SetConditioned:
    width = labelled(CELLS[:2], np.zeros(2)).shape[1]
    return meta_train(SetConditioned(product_score(SPACE), SPACE.allowed, width, TRAINING), draw, TRAINING)


def some(seed: int, count: int = ITEMS) -> Tensor:
    return torch.randperm(len(CELLS), generator=torch.Generator().manual_seed(seed))[:count]


@pytest.mark.parametrize("which", [0, 1])
def test_one_network_ranks_by_the_taste_of_the_data_set_that_it_is_told(network: SetConditioned, which: int) -> None:
    scores, known = tastes(which), some(5)
    conditioned = told_labels(network, CELLS[known], scores[known])
    assert conditioned.correlation > 0.5  # of twelve, some of which tie but for chance
    asked = some(6, 300)
    assert spearmanr(conditioned.ranks_of(CELLS[asked]), scores[asked]).statistic > 0.8


def test_data_sets_are_apart_before_it_is_learned_what_tells_them_apart() -> None:
    items = torch.stack([draw(torch.Generator().manual_seed(seed)).items for seed in range(40)])
    quick = MetaTraining(width=32, code=8, steps=0)
    untold = SetConditioned(product_score(SPACE), SPACE.allowed, items.shape[2], quick)
    apart = untold.encode(items).std(dim=0).mean()
    assert meta_train(untold, draw, quick).encode(items).std(dim=0).mean() > 5 * apart


def test_neither_order_nor_number_of_items_matters(network: SetConditioned) -> None:
    known, scores = some(5), tastes(0)
    items = labelled(CELLS[known], scores[known])
    code = network.encode(items[None])
    assert network.encode(items.flip(0)[None]) == pytest.approx(code, abs=1e-6)
    assert network.encode(torch.cat([items, items])[None]) == pytest.approx(code, abs=1e-6)


@pytest.mark.parametrize("which", [0, 1])
def test_guidance_goes_where_the_data_set_wants(network: SetConditioned, which: int) -> None:
    known, scores = some(5), tastes(which)
    wanted = GoodRank(told_labels(network, CELLS[known], scores[known]))
    score = product_score(SPACE).score
    x, sigma = torch.randn(4, 8, 7, generator=torch.Generator().manual_seed(0)), torch.full((4,), 1.0)
    change = (guided(score, [Guide(wanted)])(x, sigma) - score(x, sigma))[:, 1:-1, 5].mean()
    assert change > 0 if which == 0 else change < 0


def test_a_data_set_seen_by_images_is_told_without_labels_and_steers_only_as_far_as_it_is_trusted() -> None:
    images = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    network = SetConditioned(product_score(SPACE), SPACE.allowed, 6, TRAINING)
    x, sigma = scaled(CELLS[:3]), torch.full((3,), 0.5)
    unknown, trusted = told(network, images), told(network, images, correlation=0.8)
    assert unknown.ranks(x, sigma).shape == (1, 3)
    assert (GoodRank(unknown).log_likelihood(x, sigma) == 0).all()
    assert (GoodRank(trusted).log_likelihood(x, sigma) != 0).all()


@pytest.mark.parametrize("count", [2, 8])
def test_few_labels_or_all_alike_do_not_steer(network: SetConditioned, count: int) -> None:
    assert told_labels(network, CELLS[:count], np.ones(count)).correlation == 0


def test_labels_are_ranks_and_a_failure_is_the_worst() -> None:
    assert to_ranks(np.array([3.0, -np.inf, 9.0])).tolist() == [0.5, 0.0, 1.0]
    items = labelled(CELLS[[0, 7, 9]], np.array([3.0, -np.inf, 9.0]))
    assert items[:, 56].tolist() == [0, -1, 1]
    assert (items[:, 57:] == items[:, :56] * items[:, 56:57]).all()


def test_the_same_seed_trains_the_same_network(network: SetConditioned) -> None:
    torch.manual_seed(99)
    quick = MetaTraining(width=8, code=2, steps=3)
    made = [
        meta_train(SetConditioned(product_score(SPACE), SPACE.allowed, network.item[0].in_features, quick), draw, quick)
        for _ in range(2)
    ]
    assert all((a == b).all() for a, b in zip(made[0].parameters(), made[1].parameters(), strict=True))
