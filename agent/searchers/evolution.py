"""`evolution`: regularised evolution (Real et al. 2019, arXiv 1802.01548, Algorithm 1).

The population is the last P scored trials, so that everything dies of age and not of a bad score: what was only lucky
is not kept. A few of them are drawn with replacement, and the best of these has a child: one number moved by one step.
"""

from collections import deque

from agent.searchers.base import Proposal, Seen
from agent.searchers.local import step_from, untried_neighbours
from agent.searchers.random_search import anywhere
from diffusion.spec import UNetSpec
from memory.queries.so_far import TrialSoFar

POPULATION, SAMPLE = 10, 3
"""The paper's 100 and 25 are for 20,000 trainings; a search of 40 would end in its first, random population."""


class Evolution:
    """Mutates the best of a few of the youngest trials."""

    name = "evolution"

    def __init__(self, population: int = POPULATION, sample: int = SAMPLE) -> None:
        self.population: deque[tuple[float, TrialSoFar]] = deque(maxlen=population)
        self.sample = sample

    def tell(self, trial: TrialSoFar) -> None:
        """Learn of a trial; with a score it joins the population, and the oldest leaves it."""
        if trial.score is not None:
            self.population.append((trial.score, trial))

    def ask(self, seen: Seen) -> Proposal | None:
        """A child of the best of a tournament; a random spec for the first population, and where nobody has a child."""
        alive = self.population.maxlen or 0
        if len(self.population) < alive:
            return anywhere(seen, f"the first population has {len(self.population)} of {alive}")
        drawn = seen.rng.integers(len(self.population), size=self.sample)
        for _, parent in sorted((self.population[place] for place in set(drawn.tolist())), key=lambda each: each[0]):
            if len(near := untried_neighbours(seen, parent)):
                child = UNetSpec.from_row(near[seen.rng.integers(len(near))])
                return step_from(seen, parent, child)
        return anywhere(seen, "no member of the tournament has an untried neighbour")
