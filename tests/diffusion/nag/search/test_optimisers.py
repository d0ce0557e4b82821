import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion.nag.graphs import Places
from diffusion.nag.mobilenet_v3 import mobilenet_v3
from diffusion.nag.nasbench201 import CELLS, nasbench201
from diffusion.nag.search.ensemble import Ensemble
from diffusion.nag.search.optimisers import OPTIMISERS, Generate, Population, guided, neighbours, optimiser

SPACE = nasbench201()
CELL: Places = (0, 3, 3, 3, 1, 2, 4, 0)
NONE: Places = (0, 0, 0, 0, 0, 0, 0, 0)


def population() -> Population:
    return Population(SPACE, [NONE, CELL], [10.0, 94.0])


def fitted() -> Ensemble:
    graphs = SPACE.graphs(torch.tensor(population().places)).flatten(1).float()
    return Ensemble.fit(graphs, np.array(population().scores), seed=0)


def some(count: int, seed: int) -> Tensor:
    return SPACE.sample(count, torch.Generator().manual_seed(seed))


def generate(population: Population, predictor: Ensemble, count: int, seed: int) -> Tensor:
    return some(count, seed)


def test_a_cell_has_four_neighbours_an_edge() -> None:
    found = neighbours(SPACE, CELL)
    assert len(found) == len(set(map(tuple, found.tolist()))) == 24
    assert ((found != torch.tensor(CELL)).sum(dim=1) == 1).all()


def test_neighbours_differ_in_one_layer_also_where_layers_vary_together() -> None:
    space = mobilenet_v3()
    places: Places = (0, 100, 7000, 81, 5)
    own, others = space.graphs(torch.tensor([places])), space.graphs(neighbours(space, places))
    assert ((own != others).any(dim=-1).sum(dim=-1) == 1).all()
    assert space.valid(others).all()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_candidates_are_new_distinct_and_the_same_for_a_seed(name: str) -> None:
    offer = optimiser(name, SPACE, generate)
    one, again = (offer(population(), fitted(), 50, 7).tolist() for _ in range(2))
    assert one == again
    assert len(set(map(tuple, one))) == len(one) > 0
    assert list(NONE) not in one and list(CELL) not in one


def test_how_many_candidates_each_offers() -> None:
    counts = {name: len(optimiser(name, SPACE, generate)(population(), fitted(), 100, 0)) for name in OPTIMISERS}
    assert counts == {"random": 100, "mutation": 24, "mutation+random": 100, "exhaustive": CELLS - 2, "guided": 100}


def test_mutation_goes_on_with_uniform_draws_when_all_neighbours_are_evaluated() -> None:
    known = population()
    for row in neighbours(SPACE, CELL).tolist():
        known.add(tuple(row), 50.0)
    found = optimiser("mutation", SPACE)(known, fitted(), 10, 0)
    assert len(found) == 10
    assert (found != torch.tensor(CELL)).sum(dim=1).min() > 1


def test_what_is_generated_comes_without_what_is_invalid_known_or_double() -> None:
    graphs = torch.cat(
        [some(2, 0), some(2, 0), SPACE.graphs(torch.tensor([CELL])), torch.zeros(3, 8, 7, dtype=torch.bool)]
    )

    def fixed(population: Population, predictor: Ensemble, count: int, seed: int) -> Tensor:
        return graphs

    found = guided(fixed)(population(), fitted(), 100, 0)
    assert found.tolist() == SPACE.places_of(some(2, 0)).tolist()


def test_where_nothing_usable_is_generated_uniform_draws_stand_in() -> None:
    def nothing(population: Population, predictor: Ensemble, count: int, seed: int) -> Tensor:
        return torch.zeros(count, 8, 7, dtype=torch.bool)

    offers: list[Generate] = [nothing]
    assert len(guided(offers[0])(population(), fitted(), 5, 0)) == 5
    with pytest.raises(ValueError, match="take something that generates them"):
        optimiser("guided", SPACE)
