"""`local`: an untried one-step neighbour of the best trial, or of the next best that has one left.

The walk is that of `agent.backends.offline`: best parents first, the neighbours of each in an order fixed by the seed.
"""

from itertools import product

from agent.searchers.base import Proposal, Seen
from agent.searchers.random_search import anywhere
from diffusion.neighbourhood import moved, one_step, shuffled, spelled_neighbours
from diffusion.networks import distinct, spellings_in
from diffusion.spec import Rows, UNetSpec
from memory.queries.so_far import TrialSoFar


class Local:
    """Walks from the best trials to what is one step away."""

    name = "local"

    def __init__(self) -> None:
        self.scored: list[tuple[float, int, TrialSoFar]] = []

    def tell(self, trial: TrialSoFar) -> None:
        """Learn of a trial; only its score says where to walk."""
        if trial.score is not None:
            self.scored.append((trial.score, trial.trial, trial))

    def ask(self, seen: Seen) -> Proposal | None:
        """The first feasible neighbour of the best; a random feasible spec where no trial has one left."""
        for _, _, parent in sorted(self.scored, key=lambda each: each[:2]):
            near = map(UNetSpec.from_row, untried_neighbours(seen, parent))
            for spec in shuffled(near, lambda spec: f"{seen.seed}/{spec}"):
                return step_from(seen, parent, spec)
        return anywhere(seen, "no scored trial has an untried neighbour")


def untried_neighbours(seen: Seen, parent: TrialSoFar) -> Rows:
    """The networks one step from a trial's that may be proposed, one spelling each.  (N, 2 + 2 stages)

    A directive may leave one spelling of a network and not another, so what is allowed comes before what is equal.
    """
    family = seen.limits.protocol.settings.family
    near = spelled_neighbours(seen.limits.space, parent.spec, family)
    return distinct(near[seen.allowed(near)], family)


def step_from(seen: Seen, parent: TrialSoFar, spec: UNetSpec) -> Proposal:
    """A neighbour of a trial, and which number of which spelling was moved."""
    space, family = seen.limits.space, seen.limits.protocol.settings.family
    before, after = (spellings_in(space, network, family) for network in (parent.spec, spec))
    steps = (moved(here, there) for here, there in product(before, after))
    ((name, values),) = next(step for step in steps if len(step) == 1).items()
    return Proposal(spec, f"{one_step(f'trial {parent.trial} ({parent.score:.4g})', name, *values)}.")
