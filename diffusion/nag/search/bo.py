"""Bayesian optimisation over architectures (DiffusionNAG, Algorithms 1 and 2): which to evaluate next.

    evaluate n0 drawn uniformly
    until the budget is spent:
        train a predictor on all that is evaluated
        take candidates from an acquisition optimiser, choose the one that is worth most
        evaluate it

Algorithm 2 is Algorithm 1 with guided candidates. Each step draws from its seed and its number alone: a search that is
given its first evaluations goes on as if it had never stopped.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.nag.graphs import GraphSpace, Places
from diffusion.nag.search.acquisition import Acquisition, acquire
from diffusion.nag.search.ensemble import Ensemble, Recipe
from diffusion.nag.search.optimisers import Optimiser, Population, draw
from diffusion.streams import stream_seed

Floats = NDArray[np.float64]
Features = Callable[[Tensor], Tensor]
"""What a predictor sees of architectures: places (B, factors) → (B, D) float32."""


class Evaluation(NamedTuple):
    """One step of a search."""

    places: Places
    score: float  # higher is better
    candidates: int  # that it was chosen from; 1 for the initial ones
    rank_correlation: float | None  # out of bag, of the predictor that chose it; None for the initial ones


@dataclass(frozen=True)
class Search:
    """What is searched, and how."""

    space: GraphSpace[Any]
    evaluate: Callable[[Places], float]
    optimiser: Optimiser
    acquisition: Acquisition
    initial: int = 10  # n0
    evaluations: int = 60  # the initial ones included; the issue's limit, and Figure 3's horizon
    candidates: int = 100  # c
    recipe: Recipe | None = None
    features: Features | None = None  # the graph itself, flat, if None

    def run(self, seed: int, past: Iterable[Evaluation] = ()) -> Iterator[Evaluation]:
        """Each evaluation as it is made; ends early where a space is used up.

        Args:
            seed: of everything that is drawn.
            past: the first evaluations of the same search, which are neither made nor yielded again.
        """
        population = Population(self.space)
        for each in past:
            population.add(each.places, each.score)
        while len(population.places) < self.evaluations:
            step = stream_seed(seed, "bo", len(population.places))
            candidates, worth, correlation = self._offer(population, seed, step)
            if not len(candidates):
                return
            chosen: Places = tuple(candidates[int(worth.argmax())].tolist())
            score = self.evaluate(chosen)
            population.add(chosen, score)
            yield Evaluation(chosen, score, len(candidates), correlation)

    def _offer(self, population: Population, seed: int, step: int) -> tuple[Tensor, Floats, float | None]:
        """New candidates, what each is worth, and how well the predictor ranks."""
        done = len(population.places)
        if done < self.initial:
            drawn = draw(Population(self.space), self.initial, seed)[done : done + 1]
            return drawn, np.zeros(len(drawn)), None
        features = self.features or flat_graphs(self.space)
        fitted = Ensemble.fit(features(torch.tensor(population.places)), np.array(population.scores), step, self.recipe)
        candidates = self.optimiser(population, fitted, self.candidates, step)
        belief = fitted.belief(features(candidates))
        worth = acquire(self.acquisition, belief, fitted.best, np.random.default_rng(step))
        return candidates, worth, fitted.out_of_bag()


def flat_graphs(space: GraphSpace[Any]) -> Features:
    """The one-hot graphs as rows: places (B, factors) → (B, N·F) float32."""
    return lambda places: space.graphs(places).flatten(1).to(torch.float32)


def regret(scores: Iterable[float], best: float) -> Floats:
    """How far the best so far is below the best there is, after each evaluation.  (n,) → (n,)"""
    return best - np.maximum.accumulate(np.fromiter(scores, dtype=np.float64))


def evaluations_until(scores: Iterable[float], target: float) -> int | None:
    """How many evaluations it took to reach a target, None if none reached it: censored at their number."""
    return next((number for number, score in enumerate(scores, start=1) if score >= target), None)
