"""Guided candidates (DiffusionNAG, Algorithm 2): generated towards what scored well so far."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion.nag.closed_form import product_score
from diffusion.nag.generator import Generator
from diffusion.nag.guidance import GoodRank, Guide
from diffusion.nag.predictor import PredictorTraining, fit_ranks
from diffusion.nag.search.ensemble import Ensemble
from diffusion.nag.search.optimisers import Generate, Population

SCALE = 6.0  # of the guidance, as for Table 3; with 1 candidates of 30 labels were hardly better than uniform ones
STEPS = 50  # levels that a sampler passes; a candidate need not be as good as a delivered architecture


def generating(source: Generator[Any], scale: float = SCALE) -> Generate:
    """Graphs of a generator, guided by a predictor of ranks under noise that learns from the population each time anew.

    The predictor that the acquisition function believes sees no noise, and gives no gradient where there is much.

    Args:
        source: of the space; its score is trained or in closed form.
        scale: of the guidance, k of Eq. 9; beside it counts how well the predictor ranks what it has not seen.
    """
    space, prior = source.space, product_score(source.space)

    def generate(population: Population, fitted: Ensemble, count: int, seed: int) -> Tensor:
        graphs, scores = space.graphs(torch.tensor(population.places)), np.array(population.scores)
        ranks = fit_ranks(
            prior,
            list(graphs),
            scores,
            allowed=space.allowed,
            process=source.process,
            training=PredictorTraining(seed=seed),
        )
        return source.graphs(count, seed, [Guide(GoodRank(ranks), scale)])

    return generate
