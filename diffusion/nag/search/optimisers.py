"""Where the candidates of an acquisition function come from: its optimisers (DiffusionNAG, Section 3.2).

    random              drawn uniformly
    mutation            the best architecture with one operator changed
    mutation+random     half of each
    exhaustive          all of the space: the most that any optimiser can offer
    guided              generated towards what a predictor prefers (Algorithm 2)

An architecture is its places in the factors of its space. Candidates are new and each is one once; where an optimiser
has none left, as when all neighbours of the best are evaluated, uniform draws stand in.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from diffusion.nag.graphs import GraphSpace, Places
from diffusion.nag.search.ensemble import Ensemble

TRIES = 20  # draws of new architectures, each of as many as are missing, until a space counts as used up


@dataclass
class Population:
    """The architectures evaluated so far, in their order; higher scores are better."""

    space: GraphSpace[Any]
    places: list[Places] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def add(self, places: Places, score: float) -> None:
        self.places.append(places)
        self.scores.append(score)

    @property
    def best(self) -> Places:
        """The first of the highest score."""
        return self.places[int(np.argmax(self.scores))]

    def new(self, candidates: Tensor) -> Tensor:
        """Candidates that are valid and not evaluated, each once, in their order.  (B, factors) → (≤ B, factors)"""
        first: dict[Places, int] = {}
        for at, row in enumerate(candidates.tolist()):
            first.setdefault(tuple(row), at)
        for evaluated in self.places:
            first.pop(evaluated, None)
        return candidates[[at for row, at in first.items() if min(row) >= 0]]


Optimiser = Callable[[Population, Ensemble, int, int], Tensor]
"""Offers candidates: (population, predictor, count, seed) → (≤ count, factors) int64, the same for the same seed."""

Generate = Callable[[Population, Ensemble, int, int], Tensor]
"""Generates graphs: (population, predictor, count, seed) → (B,N,F) one-hot, valid or not, known or not."""

OptimiserName = Literal["random", "mutation", "mutation+random", "exhaustive", "guided"]
OPTIMISERS: tuple[OptimiserName, ...] = get_args(OptimiserName)


def optimiser(name: OptimiserName, space: GraphSpace[Any], generate: Generate | None = None) -> Optimiser:
    """The optimiser of that name.

    Raises:
        ValueError: `guided` without something that generates.
    """
    match name:
        case "random":
            return uniform
        case "mutation":
            return mutation
        case "mutation+random":
            return mutation_and_random
        case "exhaustive":
            return exhaustive(space)
        case "guided":
            if generate is None:
                raise ValueError("guided candidates take something that generates them")
            return guided(generate)


def draw(population: Population, count: int, seed: int, beside: Tensor | None = None) -> Tensor:
    """So many new architectures, uniformly, after those that there are already; fewer where a space is used up."""
    space, generator = population.space, torch.Generator().manual_seed(seed)
    found = torch.empty(0, len(space.factors), dtype=torch.int64) if beside is None else beside
    for _ in range(TRIES):
        if len(found) >= count:
            break
        drawn = space.places_of(space.sample(count - len(found), generator))
        found = population.new(torch.cat([found, drawn]))
    return found[:count]


def uniform(population: Population, fitted: Ensemble, count: int, seed: int) -> Tensor:
    """Random."""
    return draw(population, count, seed)


def mutation(population: Population, fitted: Ensemble, count: int, seed: int) -> Tensor:
    """Neighbours of the best, picked uniformly if there are more than asked for."""
    candidates = population.new(neighbours(population.space, population.best))
    if not len(candidates):
        return draw(population, count, seed)
    return candidates[np.random.default_rng(seed).permutation(len(candidates))[:count]]


def mutation_and_random(population: Population, fitted: Ensemble, count: int, seed: int) -> Tensor:
    """Half neighbours of the best, the rest uniform."""
    return draw(population, count, seed, beside=mutation(population, fitted, count // 2, seed))


def exhaustive(space: GraphSpace[Any]) -> Optimiser:
    """All that a space has, however few are asked for; for spaces that can be enumerated."""
    every = space.places_of(space.members())
    return lambda population, fitted, count, seed: population.new(every)


def guided(generate: Generate) -> Optimiser:
    """What is generated, less what is invalid, known or there twice."""

    def offer(population: Population, fitted: Ensemble, count: int, seed: int) -> Tensor:
        graphs = generate(population, fitted, count, seed)
        candidates = population.new(population.space.places_of(graphs))
        return candidates[:count] if len(candidates) else draw(population, count, seed)

    return offer


def neighbours(space: GraphSpace[Any], places: Places) -> Tensor:
    """The architectures that differ in the operator of exactly one node.  → (B, factors)

    Where no member of a factor differs in one node alone, all of its other members count.
    """
    found = []
    for at, factor in enumerate(space.factors):
        changed = (factor.members != factor.members[places[at]]).any(dim=-1).sum(dim=-1)  # nodes, of each member
        members = torch.nonzero(changed == 1 if (changed == 1).any() else changed)[:, 0]
        rows = torch.tensor(places).repeat(len(members), 1)
        rows[:, at] = members
        found.append(rows)
    return torch.cat(found)
