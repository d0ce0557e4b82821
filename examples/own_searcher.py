"""A searcher of your own: nearest to the best trial, and the cheapest of those.

    diffnas-agent run --bench unetbench --rounds 20 --searcher examples/own_searcher.py:Thrifty
    diffnas-agent compare --bench unetbench --seeds 10 --rounds 20 --searchers random,examples/own_searcher.py:Thrifty

A searcher is any class with a `name`, `tell` and `ask` (`agent.searchers.base.Searcher`). A new one is made for each
question, told every trial of the search from the memory, and asked once. So it keeps nothing: what it proposes is a
function of the trials and of ``seen.rng``, and a search that was killed goes on with the same proposals. It proposes,
no more: whatever it says goes through the same gates as a language model's proposal.
"""

import numpy as np

from agent.searchers.base import Proposal, Seen
from diffusion.cost.closed_form import costs
from diffusion.neighbourhood import distances
from diffusion.spec import UNetSpec
from memory.queries.so_far import TrialSoFar

NEAREST = 10  # among so many the cheapest is taken


class Thrifty:
    """Stays near the best and counts every MAC."""

    name = "thrifty"

    def __init__(self) -> None:
        self.best: TrialSoFar | None = None

    def tell(self, trial: TrialSoFar) -> None:
        """Learn of a trial, the baseline first; those that failed, were refused or still run have no score."""
        if trial.score is not None and (self.best is None or trial.score < self.best.score):
            self.best = trial

    def ask(self, seen: Seen) -> Proposal | None:
        """What to train next, and why; None where everything was tried."""
        rows = seen.feasible  # one row of numbers for each network that may be proposed, (N, 2 + 2 stages)
        if not len(rows):
            return None
        if self.best is None:
            return Proposal(UNetSpec.from_row(rows[seen.rng.integers(len(rows))]), "Nothing has a score yet.")
        near = rows[np.argsort(distances(rows, self.best.spec), kind="stable")[:NEAREST]]
        settings = seen.limits.protocol.settings
        macs = costs(near, settings.family, settings.resolution, settings.channels).macs_paper
        spec = UNetSpec.from_row(near[macs.argmin()])
        return Proposal(spec, f"The cheapest of the {len(near)} networks nearest to trial {self.best.trial}.")
