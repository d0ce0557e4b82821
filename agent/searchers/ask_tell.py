"""Lets a `Searcher` play a round: it is told the memory, asked, and what it proposes goes the way of every proposal."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from agent.searchers.base import Searcher, Seen, SeenTrial
from memory.queries.so_far import trials_so_far
from tools.context import SearchContext
from tools.errors import Refused
from tools.gates.feasible import Feasible, feasible
from tools.jobs.training import train_candidate
from tools.suggestions import round_generator

ASKS_PER_ROUND = 20  # after as many refusals, by a person or a limit that is measured, the fallback proposes

Told = Literal["none", "search", "all"]  # of what was tried: nothing, this search, every search of the protocol


@dataclass
class AskTell:
    """Brings a round's trial about with a searcher, which is made anew for each question."""

    make: Callable[[], Searcher]
    name: str
    rounds: int
    told: Told = "search"

    def propose(self, context: SearchContext) -> None:
        """Ask until a proposal passes; without one the round is left to the fallback."""
        context = replace(context, proposer=self.name)
        for _ in range(ASKS_PER_ROUND):
            searcher, seen = self.make(), seen_by(context, self.told)
            for trial in seen.trials:
                searcher.tell(trial)
            proposal = searcher.ask(seen)
            if proposal is None:
                return
            with suppress(Refused):  # a row in memory, of which the next question knows
                train_candidate(context, proposal.spec, proposal.reason)
                return


def seen_by(context: SearchContext, told: Told = "search") -> Seen:
    """What a searcher is asked with in a round: a function of the memory, the seed and the round."""
    found = feasible(context)
    return Seen(
        limits=context.limits,
        round_number=context.round_number,
        seed=context.jobs.seed,
        trials=_told(context, told, found),
        feasible=found.rows,
        allowed=found.allows,
        rng=round_generator(context.jobs.seed, context.round_number),
    )


def _told(context: SearchContext, told: Told, found: Feasible) -> tuple[SeenTrial, ...]:
    """The trials that a searcher is told of, and the refusals of this round."""
    so_far = trials_so_far(context.db, context.search, "memory") if told == "all" else found.trials
    known = [] if told == "none" else so_far
    trials = [SeenTrial(each.trial, each.round, each.spec, each.state, each.score, each.proposer) for each in known]
    return (*trials, *(SeenTrial(0, context.round_number, spec, "refused") for spec in found.refused))
