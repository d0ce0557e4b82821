"""Lets a `Searcher` play a round: it is told the memory, asked, and what it proposes goes the way of every proposal."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from agent.searchers.base import Searcher, Seen
from memory.queries.so_far import TrialSoFar
from tools.context import SearchContext
from tools.errors import Interrupted, Refused
from tools.gates.feasible import feasible
from tools.jobs.training import train_candidate
from tools.suggestions import round_generator

ASKS_PER_ROUND = 20  # after as many refusals, by a person or a limit that is measured, the fallback proposes


@dataclass
class AskTell:
    """Brings a round's trial about with a searcher, which is made anew for each question."""

    make: Callable[[], Searcher]
    name: str
    rounds: int

    def propose(self, context: SearchContext) -> None:
        """Ask until a proposal passes; without one the round is left to the fallback.

        Raises:
            Interrupted: the user stops the search.
        """
        context = replace(context, proposer=self.name)
        for _ in range(ASKS_PER_ROUND):
            if context.services.stop.is_set():
                raise Interrupted
            searcher, seen = self.make(), seen_by(context)
            for trial in seen.trials:
                searcher.tell(trial)
            proposal = searcher.ask(seen)
            if proposal is None:
                return
            with suppress(Refused):  # a row in memory, of which the next question knows
                train_candidate(context, proposal.spec, proposal.reason)
                return


def seen_by(context: SearchContext) -> Seen:
    """What a searcher is asked with in a round: a function of the memory, the seed and the round."""
    found = feasible(context)
    refused = [TrialSoFar(0, context.round_number, spec, "refused") for spec in found.refused]
    return Seen(
        limits=context.limits,
        round_number=context.round_number,
        seed=context.jobs.seed,
        trials=(*found.told, *refused),
        feasible=found.rows,
        allowed=found.allows,
        rng=round_generator(context.jobs.seed, context.round_number),
    )
