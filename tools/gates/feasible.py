"""What may be proposed: every network that the space, the budget, the limits and the directives of a search leave, and
that it has neither tried nor, in this round, refused.

It is enumerated, never penalised: what a searcher picks of it passes the gates (`tools.gates.specs`), but for a cap on
latency where a spec was not measured yet. What a space holds and what that costs is counted once in a process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from diffusion.networks import networks
from diffusion.settings import Family
from diffusion.space import SearchSpace
from diffusion.spec import Rows, UNetSpec
from memory.directives import DirectiveRow, active_directives
from memory.queries.so_far import TrialSoFar, trials_so_far
from memory.trials import refused_in_round
from tools.gates.directive_kinds import directive_of
from tools.gates.directives import allowed_among, allowed_rows, facts_of, narrowed_facts, otherwise_spelled
from tools.gates.facts import Facts, Mask, network_rows
from tools.gates.latency import known_slower_than
from tools.gates.limits import Cap

if TYPE_CHECKING:
    from tools.context import SearchContext


@dataclass(frozen=True)
class Feasible:
    """What may be proposed in a round, and what was tried before it."""

    facts: Facts
    active: Sequence[DirectiveRow]
    trials: Sequence[TrialSoFar]  # of this search, by round
    told: Sequence[TrialSoFar]  # what who proposes is to know of
    refused: Sequence[UNetSpec]  # in this round
    too_slow: Sequence[UNetSpec]  # measured before, and over a cap on latency that holds

    @cached_property
    def taken(self) -> frozenset[bytes]:
        """The names of the networks that may not be proposed again."""
        specs = (*(trial.spec for trial in self.trials), *self.refused, *self.too_slow)
        by_stages: dict[int, list[tuple[int, ...]]] = {}  # a refused spec may have other stages
        for spec in specs:
            by_stages.setdefault(spec.stages, []).append(spec.row)
        return frozenset(name for rows in by_stages.values() for name in names_of(rows, self._family))

    @cached_property
    def rows(self) -> Rows:
        """The networks, each in one spelling; of a huge space those of a sample.  (N, 2 + 2 stages)"""
        fits, where = allowed_rows(self.facts, self.active), places(self.facts.space, self._family)
        others, free = otherwise_spelled(self.facts, map(directive_of, self.active), fits), fits.copy()
        free[[where[name] for name in self.taken if name in where]] = False
        return np.vstack([self.facts.rows[free], others[self._untried(others)]])

    def allows(self, rows: Rows) -> Mask:
        """Which of any rows may be proposed, those that no sample has among them.  (N, 2 + 2 stages) → (N,)"""
        return self._untried(rows) & self.facts.space.holds(rows) & allowed_among(self.facts, self.active, rows)

    def _untried(self, rows: Rows) -> Mask:
        return np.array([name not in self.taken for name in names_of(rows, self._family)], dtype=np.bool_)

    @property
    def _family(self) -> Family:
        return self.facts.protocol.settings.family


def feasible(context: "SearchContext") -> Feasible:
    """What may be proposed now, by what stands in memory."""
    db, search = context.db, context.search
    active, refused = active_directives(db, search), refused_in_round(db, search, context.round_number)
    trials = trials_so_far(db, search)
    told = {"none": list, "search": lambda: trials, "all": partial(trials_so_far, db, search, "memory")}
    return Feasible(
        facts=narrowed_facts(facts_of(context), map(directive_of, active)),
        active=active,
        trials=trials,
        told=told[context.told](),
        refused=[UNetSpec.parse(text) for text in sorted(refused)],
        too_slow=_too_slow(context, active),
    )


def _too_slow(context: "SearchContext", active: Sequence[DirectiveRow]) -> list[UNetSpec]:
    contents = [content for each in active if isinstance(content := directive_of(each), Cap)]
    caps = [content.at_most for content in contents if content.what == "latency_ms"]
    return known_slower_than(context, min(caps)) if caps else []


@lru_cache(maxsize=4)
def places(space: SearchSpace, family: Family) -> dict[bytes, int]:
    """Where each network stands among the rows of its space."""
    return {name: index for index, name in enumerate(names_of(network_rows(space, family), family))}


def names_of(rows: "Rows | Sequence[Sequence[int]]", family: Family) -> list[bytes]:
    """What is equal for two spellings of one network alone, of each row: to be looked up quickly."""
    return [row.tobytes() for row in networks(np.array(rows, dtype=np.int64), family)] if len(rows) else []
