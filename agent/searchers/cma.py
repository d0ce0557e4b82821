"""`cma`: CMA-ES with margin (Hamano et al. 2022, arXiv 2205.13482) over the places of a space, with nothing kept
between rounds.

Optuna's sampler keeps its optimiser pickled in the attributes of its trials, and in a fresh study never leaves its
first generation. So the optimiser that it wraps is told the trials itself: as many as a population make a generation,
in their order. A draw that may not be proposed is drawn again; a failed or pruned trial counts as worst.
"""

import math

import numpy as np
from cmaes import CMAwM
from numpy.typing import NDArray

from agent.searchers.base import Proposal, Seen
from agent.searchers.random_search import anywhere
from diffusion.neighbourhood import Grid, Place
from diffusion.streams import stream_seed
from memory.queries.so_far import TrialSoFar

MOST_ASKS = 100  # of a round; a draw takes a tenth of a millisecond
FIRST_DEVIATION = 0.3  # of the range of each number, as Hansen's tutorial has it (arXiv 1604.00772, Section B)
FEWEST_DIMENSIONS = 2  # that the optimiser takes
SEEDS = 2**32  # what its generator takes


class CMA:
    """Draws from a normal distribution that moves to where scores are low."""

    name = "cma"

    def __init__(self) -> None:
        self.told: list[TrialSoFar] = []

    def tell(self, trial: TrialSoFar) -> None:
        """Learn of a trial."""
        self.told.append(trial)

    def ask(self, seen: Seen) -> Proposal | None:
        """The first draw that is feasible and untried; a random spec where there is none among many."""
        walk = Walk(seen)
        if not len(seen.feasible):
            return None
        if len(walk.free) < FEWEST_DIMENSIONS:
            return anywhere(seen, "CMA-ES needs two numbers that may vary")
        for trial in self.told:
            walk.tell(trial)
        walk.begin_round(seen.round_number)
        for _ in range(MOST_ASKS):
            spec = walk.grid.spec(walk.draw()[0])
            if seen.allowed(np.array([spec.row], dtype=np.int64))[0]:
                return Proposal(spec, f"CMA-ES draws it in its generation {walk.optimiser.generation}.")
        return anywhere(seen, f"CMA-ES drew nothing feasible and untried in {MOST_ASKS} draws")


class Walk:
    """The optimiser, rebuilt from what was told. It moves in [0, 1] for each number that has a choice."""

    def __init__(self, seen: Seen) -> None:
        self.grid, self.seed = Grid(seen.limits.space, seen.limits.protocol.settings.family), seen.seed
        self.sizes = np.array(list(self.grid.sizes.values()))
        self.free = np.flatnonzero(self.sizes > 1)
        self.solutions: list[tuple[NDArray[np.float64], float]] = []  # of the generation that is under way
        if len(self.free) >= FEWEST_DIMENSIONS:
            self.optimiser = CMAwM(
                mean=np.full(len(self.free), 0.5),
                sigma=FIRST_DEVIATION,
                bounds=np.tile([0.0, 1.0], (len(self.free), 1)),
                steps=1 / (self.sizes[self.free] - 1),
            )

    def begin_round(self, number: int) -> None:
        """Draw from here on as in this round, whenever it is."""
        self.optimiser.reseed_rng(stream_seed(self.seed, "cma", number) % SEEDS)

    def draw(self) -> tuple[Place, NDArray[np.float64]]:
        """A place, and the point before rounding, which is what the optimiser learns from."""
        rounded, point = self.optimiser.ask()
        place = np.zeros(len(self.sizes), dtype=np.int64)
        place[self.free] = np.rint(rounded * (self.sizes[self.free] - 1))
        return tuple(place.tolist()), point

    def tell(self, trial: TrialSoFar) -> None:
        """Learn of a trial; a whole population of them moves the distribution."""
        place = self.grid.place(trial.spec)
        if place is None or trial.state in ("running", "refused"):
            return
        self.solutions.append((self._point(trial, place), math.inf if trial.score is None else trial.score))
        if len(self.solutions) == self.optimiser.population_size:
            self.optimiser.tell(self.solutions)
            self.solutions = []

    def _point(self, trial: TrialSoFar, place: Place) -> NDArray[np.float64]:
        """Where a trial was drawn: its round's draws are made again; of what others proposed, the place itself."""
        self.begin_round(trial.round)
        for _ in range(MOST_ASKS):
            drawn, point = self.draw()
            if drawn == place:
                return point
        return np.asarray(np.array(place, dtype=np.float64)[self.free] / (self.sizes[self.free] - 1))
