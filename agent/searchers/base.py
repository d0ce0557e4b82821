"""Who proposes: what the loop asks of it, and the interface of those that are no language model.

A `Searcher` is asked and told. It keeps no state of its own between rounds: each round a new one is told every trial
of the search so far, in their order, and then asked with a random generator that depends on (seed, round) alone. So a
search that was killed goes on exactly, and nothing is pickled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from diffusion.spec import Rows, UNetSpec
from tools.context import SearchContext, SearchLimits

State = Literal["scored", "failed", "pruned", "refused", "running"]


class Proposer(Protocol):
    """Who plays a round; see `agent.searchers.llm.LLMProposer`."""

    rounds: int  # of the search, as it is told

    def propose(self, context: SearchContext) -> None:
        """Try to bring the round's trial about."""


MakeProposer = Callable[[str, str | None], Proposer]  # (llm, base_url) → who plays with it


class SeenTrial(NamedTuple):
    """What is known of one trial, or of a proposal of this round that was refused."""

    number: int  # of the trial; of a refusal 0
    round_number: int
    spec: UNetSpec
    state: State
    score: float | None = None  # lower is better; of a scored trial alone
    proposer: str = ""


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
    trials: Sequence[SeenTrial]  # of the search so far, the baseline first; refusals of this round last
    feasible: Rows  # what limits and directives leave and was not tried: all of it, or a uniform sample of a huge space
    allowed: Callable[[Rows], NDArray[np.bool_]]  # which of any rows are feasible and untried  (N, k) → (N,)
    rng: np.random.Generator  # a function of (seed, round) alone

    @property
    def scored(self) -> list[SeenTrial]:
        """The trials with a score, in their order."""
        return [trial for trial in self.trials if trial.state == "scored"]


class Searcher(Protocol):
    """Who proposes without a language model."""

    name: str

    def tell(self, trial: SeenTrial) -> None:
        """Learn of a trial: scored, failed, pruned, refused or still running."""

    def ask(self, seen: Seen) -> Proposal | None:
        """The next spec, a member of what is feasible, and why; None when nothing is left."""
