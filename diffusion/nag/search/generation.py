"""Guided candidates (DiffusionNAG, Algorithm 2): generated towards what scored well so far."""

import numpy as np
import torch
from torch import Tensor

from diffusion.nag.closed_form import product_score
from diffusion.nag.graphs import quantise
from diffusion.nag.guidance import GoodRank, Guide, guided
from diffusion.nag.predictor import PredictorTraining, fit_ranks
from diffusion.nag.sde import Process, Score, sample
from diffusion.nag.search.ensemble import Ensemble
from diffusion.nag.search.optimisers import Generate, Population
from diffusion.streams import generator

SCALE = 6.0  # of the guidance, as for Table 3; with 1 candidates of 30 labels were hardly better than uniform ones


def generating(score: Score, process: Process | None = None, steps: int = 50, scale: float = SCALE) -> Generate:
    """Graphs of a score, guided by a predictor of ranks under noise that learns from the population each time anew.

    The predictor that the acquisition function believes sees no noise, and gives no gradient where there is much.

    Args:
        score: of the space, trained or in closed form.
        process: its levels of noise.
        steps: levels that a sampler passes; a candidate need not be as good as a delivered architecture.
        scale: of the guidance, k of Eq. 9; beside it counts how well the predictor ranks what it has not seen.
    """

    def generate(population: Population, fitted: Ensemble, count: int, seed: int) -> Tensor:
        space = population.space
        graphs, scores = space.graphs(torch.tensor(population.places)), np.array(population.scores)
        training = PredictorTraining(seed=seed)
        ranks = fit_ranks(
            product_score(space), list(graphs), scores, allowed=space.allowed, process=process, training=training
        )
        steered = guided(score, [Guide(GoodRank(ranks), scale)])
        shape = (count, space.nodes, space.columns)
        return quantise(sample(steered, shape, generator(seed, "candidates"), process=process, steps=steps))

    return generate
