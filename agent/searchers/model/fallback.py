"""The classical proposal for a round in which the model gave none: a feasible neighbour of the best, uniformly.

The directives of the user hold here as well: only specs that they leave are chosen, ``explore`` looks in the whole
space, and a directive that took a choice away is named and cited.
"""

import random
from collections.abc import Iterable

from sqlite_utils import Database

from diffusion.neighbourhood import neighbours
from diffusion.networks import network, spellings
from diffusion.spec import UNetSpec
from diffusion.streams import stream_seed
from memory.directives import DirectiveRow, active_directives, cite
from memory.queries.records import best, spec_in_search
from memory.trials import refused_in_round
from tools.context import SearchContext
from tools.errors import JobFailed
from tools.gates.directives import allowed_networks, directive_of, facts_of, first_objection, objection
from tools.gates.specs import over_budget

MEASURED = 20  # specs whose latency is measured, at most, before a round is given up


def fallback_spec(context: SearchContext) -> tuple[UNetSpec, str] | None:
    """A new spec within the budget and why, a function of (seed, round, memory); None when nothing is left."""
    choice = Choice(context)
    db = context.db
    found = choice.near_the_best(db) or choice.anywhere(db)
    if found is None:
        return None
    spec, reason = found
    for directive in choice.in_the_way.values():
        cite(context.db, directive.id, context.round_number, f"the fallback chose {spec}")
    names = ", ".join(directive.name for directive in choice.in_the_way.values())
    return spec, f"{reason} It obeys {names}." if names else reason


class Choice:
    """One choice of the fallback, and the directives that narrowed it."""

    def __init__(self, context: SearchContext) -> None:
        self.context, self.facts = context, facts_of(context)
        self.rng = random.Random(stream_seed(context.jobs.seed, "fallback", context.round_number))
        self.in_the_way: dict[int, DirectiveRow] = {}
        db = context.db
        self.active = active_directives(db, context.search)
        self.family = context.limits.protocol.settings.family
        refused = refused_in_round(db, context.search, context.round_number)
        self.refused = {network(UNetSpec.parse(spec), self.family) for spec in refused}

    @property
    def explores(self) -> bool:
        """Whether the user wants to look far; of several wishes the latest counts."""
        modes = [directive for directive in self.active if directive.kind == "mode"]
        return bool(modes) and modes[-1].arguments["mode"] == "explore"

    def near_the_best(self, db: Database) -> tuple[UNetSpec, str] | None:
        """A neighbour of the best trial that has one left."""
        if self.explores:
            self.in_the_way |= {each.id: each for each in self.active if each.kind == "mode"}
            return None
        known = best(db, self.context.search, limit=None) if self.context.limits.told != "none" else []
        for row in known:
            near = map(UNetSpec.from_row, neighbours(self.facts.space, UNetSpec.parse(row["spec"]), self.family))
            found = [new for spec in near if (new := self._new_spelling(db, spec)) is not None]
            if (spec := self._chosen(found)) is not None:
                return spec, f"A random feasible neighbour of trial {row['trial']}, the best with one left."
        return None

    def anywhere(self, db: Database) -> tuple[UNetSpec, str] | None:
        """Any network of the space that the budget and the directives leave; of a huge space one of a sample."""
        rows = allowed_networks(self.facts, map(directive_of, self.active))
        order = self.rng.sample(range(len(rows)), len(rows))
        new = (spec for spec in (UNetSpec.from_row(rows[index]) for index in order) if self._is_untried(db, spec))
        spec = self._fast_enough(new)
        nothing = (
            "no scored trial has an untried neighbour" if self.context.limits.told != "none" else "no trial is told"
        )
        why = "the user wants to explore" if self.explores else nothing
        return None if spec is None else (spec, f"A random feasible spec: {why}.")

    def _is_untried(self, db: Database, spec: UNetSpec) -> bool:
        return spec_in_search(db, self.context.search, spec) is None and network(spec, self.family) not in self.refused

    def _new_spelling(self, db: Database, spec: UNetSpec) -> UNetSpec | None:
        """A network that is untried and within the budget, in the first spelling of it that every directive leaves.

        Where none is left the directive that takes it away is remembered.
        """
        if over_budget(self.context, spec) or not self._is_untried(db, spec):
            return None
        members = [each for each in spellings(spec, self.family) if self.facts.space.why_not(each) is None]
        objections = [(each, first_objection(self.facts, each, self.active)) for each in members]
        left = next((each for each, forbidden in objections if forbidden is None), None)
        if left is None and (forbidden := objections[0][1]) is not None:
            self._narrowed_by(forbidden[1])
        return left

    def _chosen(self, found: list[UNetSpec]) -> UNetSpec | None:
        """One of these, uniformly, that is fast enough."""
        return self._fast_enough(self.rng.sample(found, len(found))) if found else None

    def _fast_enough(self, specs: Iterable[UNetSpec]) -> UNetSpec | None:
        """The first spec that no cap on latency forbids."""
        for _, spec in zip(range(MEASURED), specs, strict=False):
            try:
                forbidden = objection(self.context, spec)
            except JobFailed:
                continue
            if forbidden is None:
                return spec
            self._narrowed_by(forbidden[1])
        return None

    def _narrowed_by(self, directive: int) -> None:
        self.in_the_way |= {each.id: each for each in self.active if each.id == directive}
