"""Lets a `Searcher` play a round: it is told the memory, asked, and what it proposes goes the way of every proposal."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent.searchers.base import Searcher, Seen, SeenTrial
from diffusion.networks import networks
from diffusion.settings import Family
from diffusion.space import SearchSpace
from diffusion.spec import Rows, UNetSpec
from diffusion.streams import stream_seed
from memory.directives import active_directives
from memory.queries.so_far import TrialSoFar, trials_so_far
from memory.trials import refused_in_round
from tools.context import SearchContext
from tools.errors import Refused
from tools.gates.directives import (
    allowed_among,
    allowed_rows,
    directive_of,
    facts_of,
    narrowed_facts,
    otherwise_spelled,
)
from tools.gates.facts import network_rows
from tools.jobs.training import train_candidate

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
    family, space = context.limits.protocol.settings.family, context.limits.space
    so_far = trials_so_far(context.db, context.search)
    texts = refused_in_round(context.db, context.search, context.round_number)
    refused = [UNetSpec.parse(text) for text in sorted(texts)]
    taken = names_of([each.spec.row for each in so_far] + [spec.row for spec in refused], family)
    active = active_directives(context.db, context.search)
    limits = [directive_of(each) for each in active]
    facts = narrowed_facts(facts_of(context), limits)
    fits, where = allowed_rows(facts, active), places(facts.space, family)
    others, free = otherwise_spelled(facts, limits, fits), fits.copy()
    free[[where[name] for name in taken if name in where]] = False

    def untried(rows: Rows) -> NDArray[np.bool_]:
        return np.array([name not in taken for name in names_of(rows, family)], dtype=np.bool_)

    def allowed(rows: Rows) -> NDArray[np.bool_]:
        return untried(rows) & space.holds(rows) & allowed_among(facts, active, rows)

    return Seen(
        limits=context.limits,
        round_number=context.round_number,
        seed=context.jobs.seed,
        trials=_told(context, told, so_far, refused),
        feasible=np.vstack([facts.rows[free], others[untried(others)]]),
        allowed=allowed,
        rng=np.random.default_rng(stream_seed(context.jobs.seed, "searcher", context.round_number)),
    )


def _told(
    context: SearchContext, told: Told, so_far: list[TrialSoFar], refused: list[UNetSpec]
) -> tuple[SeenTrial, ...]:
    """The trials that a searcher is told of, and the refusals of this round."""
    if told == "all":
        so_far = trials_so_far(context.db, context.search, "memory")
    known = [] if told == "none" else so_far
    trials = [SeenTrial(each.trial, each.round, each.spec, each.state, each.score, each.proposer) for each in known]
    return (*trials, *(SeenTrial(0, context.round_number, spec, "refused") for spec in refused))


@lru_cache(maxsize=4)
def places(space: SearchSpace, family: Family) -> dict[bytes, int]:
    """Where each network stands among the rows of its space."""
    return {name: index for index, name in enumerate(names_of(network_rows(space, family), family))}


def names_of(rows: "Rows | Sequence[Sequence[int]]", family: Family) -> list[bytes]:
    """What is equal for two spellings of one network alone, of each row: to be looked up quickly."""
    return [row.tobytes() for row in networks(np.array(rows, dtype=np.int64), family)] if len(rows) else []
