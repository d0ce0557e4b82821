"""A search in which nothing is computed and nothing remembered: a searcher is asked, a planted function says the score.

What is feasible is counted, as the adapter of a real search does it, so that a searcher can be held against it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from ended_search import digits_protocol
from numpy.typing import NDArray

from agent.searchers.base import Proposal, Searcher, Seen
from diffusion.cost.closed_form import costs
from diffusion.networks import distinct, network
from diffusion.settings import Family
from diffusion.space import SearchSpace
from diffusion.spec import Rows, UNetSpec
from memory.queries.so_far import State, TrialSoFar
from tools.context import SearchLimits

SMALL = SearchSpace(
    name="small",
    base_channel=(8, 16),
    num_blocks=(1, 2),
    channel_mult=((1,), (1, 2), (1, 2), (1, 2, 3)),
    attn=((False, True), (False, True), (False,), (False,)),
)  # 192 networks, one spelling each

SPELLED = SearchSpace(
    name="spelled",
    stages=3,
    base_channel=(8, 16, 32),
    num_blocks=(1, 2),
    channel_mult=((1, 2), (1, 2, 4), (2, 4)),
    attn=((False,), (False, True), (False, True)),
)  # 288 specs; a network of them has up to three spellings

name_of = cache(network)
Outcome = tuple[State, float | None]


def smooth(spec: UNetSpec) -> Outcome:
    """A score without a local minimum: the wider and the deeper, the better, attention at stage 1 helps."""
    widths = sum(np.log2(width) for width in spec.channels)
    return "scored", float(np.exp(5 - 0.2 * widths - 0.1 * spec.num_blocks - 0.1 * spec.attn[1]))


@dataclass
class Played:
    """One search: what may be proposed, what comes of it, and its trials so far."""

    space: SearchSpace = SMALL
    outcome: Callable[[UNetSpec], Outcome] = smooth
    seed: int = 0
    budget_macs: int = 10**12
    family: Family = "ddpm"
    leaves: Callable[[Rows], NDArray[np.bool_]] = lambda rows: np.ones(len(rows), dtype=bool)  # by the directives
    trials: list[TrialSoFar] = field(default_factory=list)

    def __post_init__(self) -> None:
        protocol = digits_protocol()
        settings = protocol.settings.model_copy(update={"family": self.family})
        protocol = protocol.model_copy(update={"settings": settings})
        self.limits = SearchLimits(self.space, self.budget_macs, "paper", protocol)
        rows = self.space.rows()
        within = rows[self.is_within(rows)]
        self.rows, self.within = distinct(within, self.family), set(map(tuple, within.tolist()))
        self.names = [name_of(UNetSpec.from_row(row), self.family) for row in self.rows]

    def macs_of_space(self) -> NDArray[np.int64]:
        """The MACs of each spec of the space, the least of which is a budget that leaves something.  (N,)"""
        rows = self.space.rows()
        return costs(rows[self.leaves(rows)], self.family, 8, 1).macs("paper")

    def is_within(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows budget and directives leave."""
        macs = costs(rows, self.family, 8, 1).macs("paper")
        return np.asarray((macs <= self.budget_macs) & self.leaves(rows))

    def tried(self) -> set[str]:
        """The networks that were proposed."""
        return {name_of(trial.spec, self.family) for trial in self.trials}

    def allowed(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows may be proposed."""
        tried = self.tried()
        is_new = (name_of(UNetSpec.from_row(row), self.family) not in tried for row in rows)
        return np.array(
            [tuple(row) in self.within and new for row, new in zip(rows.tolist(), is_new, strict=True)], bool
        )

    def seen(self, round_number: int) -> Seen:
        """What a searcher is asked with in a round."""
        tried = self.tried()
        return Seen(
            limits=self.limits,
            round_number=round_number,
            seed=self.seed,
            trials=tuple(self.trials),
            feasible=self.rows[[name not in tried for name in self.names]],
            allowed=self.allowed,
            rng=np.random.default_rng([self.seed, round_number]),
        )

    def baseline(self, spec: UNetSpec | None = None) -> "Played":
        """Round 0."""
        self.add(spec or UNetSpec.from_row(self.rows[0]), 0, "baseline")
        return self

    def add(self, spec: UNetSpec, round_number: int, proposer: str = "") -> TrialSoFar:
        """A trial, with what came of it."""
        state, score = self.outcome(spec)
        self.trials.append(TrialSoFar(len(self.trials) + 1, round_number, spec, state, score, proposer))
        return self.trials[-1]

    def ask(self, searcher: Searcher, round_number: int) -> Proposal | None:
        """What a searcher that was told nothing yet proposes in a round, once it was told all."""
        for trial in self.trials:
            searcher.tell(trial)
        return searcher.ask(self.seen(round_number))

    def play(self, make: Callable[[], Searcher], rounds: int) -> list[UNetSpec]:
        """The specs that were proposed in the rounds after those that were played; fewer where nothing is left."""
        begin = len(self.trials)
        for round_number in range(begin, begin + rounds):
            proposal = self.ask(searcher := make(), round_number)
            if proposal is None:
                break
            self.add(proposal.spec, round_number, searcher.name)
        return [trial.spec for trial in self.trials[begin:]]
