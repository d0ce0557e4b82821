"""What may be proposed: every network that the space, the budget, the limits and the directives of a search leave, and
that it has neither tried nor, in this round, refused.

It is enumerated, never penalised: what a searcher picks from it passes the gates (`tools.gates.specs`), but for a cap
on latency where a spec was not measured yet. What the space holds and what it costs is counted once for a search.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from diffusion.networks import Networks, among, networks
from diffusion.spec import Rows, UNetSpec
from memory.directives import active_directives
from memory.queries.tried import tried
from memory.trials import refused_in_round
from tools.gates.directive_kinds import Cap, directive_of
from tools.gates.directives import allowed_rows, facts_of
from tools.gates.facts import Mask
from tools.gates.latency import known_slower_than

if TYPE_CHECKING:
    from tools.context import SearchContext


def feasible(context: "SearchContext") -> Rows:
    """The networks that may be proposed, each in one spelling; of a huge space those of a sample.  (N, 2 + 2 stages)"""
    facts = facts_of(context)
    left = allowed_rows(facts, active_directives(context.db, context.search))
    return facts.rows[left & ~among(facts.networks, _taken(context))]


def allowed(context: "SearchContext") -> Callable[[Rows], Mask]:
    """Tells of any rows which may be proposed, by what holds now; also of those that no sample has."""
    facts, active, taken = facts_of(context), active_directives(context.db, context.search), _taken(context)

    def leaves(rows: Rows) -> Mask:
        choices = context.limits.space.choices.values()
        inside = np.all([np.isin(column, values) for column, values in zip(rows.T, choices, strict=True)], axis=0)
        new = ~among(networks(rows, context.limits.protocol.settings.family), taken)
        return np.asarray(inside & new & allowed_rows(facts, active, rows))

    return leaves


def _taken(context: "SearchContext") -> Networks:
    """The networks of specs that were tried, were refused in this round, or are known to be too slow."""
    db = context.db
    specs = [trial.spec for trial in tried(db, context.search)]
    specs += map(UNetSpec.parse, refused_in_round(db, context.search, context.round_number))
    for directive in active_directives(db, context.search):
        content = directive_of(directive)
        if isinstance(content, Cap) and content.what == "latency_ms":
            specs += known_slower_than(context, content.at_most)
    numbers = len(context.limits.space.choices)
    rows = [spec.row for spec in specs if len(spec.row) == numbers]  # a refused one may have other stages
    return networks(np.array(rows, dtype=np.int64).reshape(-1, numbers), context.limits.protocol.settings.family)
