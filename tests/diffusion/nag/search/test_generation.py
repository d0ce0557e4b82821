import numpy as np
import torch

from diffusion.nag.closed_form import product_score
from diffusion.nag.generator import Generator
from diffusion.nag.nasbench201 import OPERATIONS, nasbench201
from diffusion.nag.search.bo import flat_graphs
from diffusion.nag.search.ensemble import Ensemble, Recipe
from diffusion.nag.search.generation import generating
from diffusion.nag.search.optimisers import Population, optimiser

SPACE = nasbench201()
CONV3 = OPERATIONS.index("nor_conv_3x3")


def test_candidates_have_more_of_what_scored_well() -> None:
    places = SPACE.places_of(SPACE.sample(30, torch.Generator().manual_seed(0)))
    scores = (places[:, 1:-1] == CONV3).sum(dim=1).double()
    population = Population(SPACE, [tuple(row) for row in places.tolist()], scores.tolist())
    fitted = Ensemble.fit(flat_graphs(SPACE)(places), np.array(population.scores), 0, Recipe(members=2, steps=1))
    offer = optimiser("guided", SPACE, generating(Generator(SPACE, product_score(SPACE).score, steps=20)))
    found = offer(population, fitted, 40, 3)
    assert found.tolist() == offer(population, fitted, 40, 3).tolist()
    assert (found[:, 1:-1] == CONV3).float().mean() > 0.4  # 0.2 of cells drawn uniformly
    assert not {tuple(row) for row in found.tolist()} & set(population.places)
