"""Who proposes: what the loop asks of it, and the interface of those that are no language model.

A `Searcher` is asked and told. It keeps no state of its own between rounds: each round a new one is told every trial
of the search so far, in their order, and then asked with a random generator that depends on (seed, round) alone. So a
search that was killed goes on exactly, and nothing is pickled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.backends.registry import Address
from agent.config.settings import RunConfig
from diffusion.spec import Rows, UNetSpec
from memory.queries.so_far import TrialSoFar
from tools.context import SearchContext, SearchLimits


class Proposer(Protocol):
    """Who plays a round; see `agent.searchers.model.proposer.LLMProposer`."""

    rounds: int  # of the search, as it is told

    def propose(self, context: SearchContext) -> None:
        """Try to bring the round's trial about."""


MakeProposer = Callable[[str, str | None], Proposer]  # (llm, base_url) → who plays with it
ProposerOf = Callable[[RunConfig, Address | None], Proposer]
"""(settings, the language model to ask before theirs, if any) → who plays: what a program of one's own hands in."""


class Proposal(NamedTuple):
    """What a searcher wants to be trained, and why."""

    spec: UNetSpec
    reason: str


@dataclass(frozen=True)
class Seen:
    """What a searcher is asked with. Rows are as `UNetSpec.row`, one for each network."""

    limits: SearchLimits  # space, budget and its convention, protocol
    round_number: int
    seed: int  # of the search
    trials: Sequence[TrialSoFar]  # of the search so far, the baseline first; refusals of this round last
    feasible: Rows  # what limits and directives leave and was not tried: all of it, or a uniform sample of a huge space
    allowed: Callable[[Rows], NDArray[np.bool_]]  # which of any rows are feasible and untried  (N, k) → (N,)
    rng: np.random.Generator  # a function of (seed, round) alone


class Searcher(Protocol):
    """Who proposes without a language model."""

    name: str

    def tell(self, trial: TrialSoFar) -> None:
        """Learn of a trial: scored, failed, pruned, refused or still running."""

    def ask(self, seen: Seen) -> Proposal | None:
        """The next spec, a member of what is feasible, and why; None when nothing is left."""
