"""What directives do to proposals: whether one forbids a spec, and whether a new one contradicts those that hold.

A directive is enforced until it is taken back, and named in the sentence of each refusal that it causes. What the kinds
are stands in `tools.gates.directive_kinds`. Nothing here writes; a latency that a cap asks for is measured, once for
each spec.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from diffusion.networks import distinct
from diffusion.spec import Rows, UNetSpec
from memory.directives import DirectiveRow, active_directives
from memory.searches import find_search
from tools.gates.directive_kinds import Backend, Mode, Rounds, Stop, StrategyBounds, Try
from tools.gates.directive_kinds import Directive as Directive
from tools.gates.directive_kinds import arguments_of as arguments_of
from tools.gates.directive_kinds import directive_of as directive_of
from tools.gates.directive_kinds import parse_directive as parse_directive
from tools.gates.facts import Facts, Mask
from tools.gates.limits import Cap, DirectiveKind, Limit, Shape, narrowed_space

if TYPE_CHECKING:
    from tools.context import SearchContext

HOLDS = "It holds until the user takes it back; propose a spec that obeys it."
REPLACED: tuple[type[DirectiveKind], ...] = (
    Mode,
    Rounds,
    Backend,
)  # of two that are to be obeyed, one would undo the other

Latency = Callable[[UNetSpec], float]  # in milliseconds


def facts_of(context: "SearchContext") -> Facts:
    """What a round's tools know of their search."""
    kind = find_search(context.db, context.search).kind
    return Facts(
        space=context.limits.space,
        budget_macs=context.limits.budget_macs,
        convention=context.limits.convention,
        protocol=context.limits.protocol,
        data_folder=context.jobs.data_folder,
        processes=context.jobs.share.processes,
        device=context.jobs.share.device,
        searches_strategies=kind == "strategy",
    )


def objection(context: "SearchContext", spec: UNetSpec, *, measure: bool = True) -> tuple[str, int] | None:
    """Why a directive forbids a spec, as a sentence, and which; None where none does.

    Without `measure` caps on latency are left out unless they are known: asking costs nothing then.
    """
    from tools.gates.latency import known_latency_ms, latency_ms

    active = active_directives(context.db, context.search)
    found = first_objection(facts_of(context), spec, active)
    if found or not any(directive.kind == "cap" for directive in active):
        return found
    latency = latency_ms if measure else known_latency_ms
    return _too_slow(spec, active, lambda asked: latency(context, asked))


def first_objection(facts: Facts, spec: UNetSpec, active: Sequence[DirectiveRow]) -> tuple[str, int] | None:
    """The first directive that forbids a spec by what can be counted, and the sentence that names it."""
    rows = np.array([spec.row], dtype=np.int64)
    for directive in active:
        content = directive_of(directive)
        if isinstance(content, Limit) and not content.mask(rows, facts)[0]:
            return f"{spec} breaks {directive.name} ({content.say()}). {HOLDS}", directive.id
    return None


def _too_slow(
    spec: UNetSpec, active: Sequence[DirectiveRow], latency: Callable[[UNetSpec], float | None]
) -> tuple[str, int] | None:
    for directive in active:
        content = directive_of(directive)
        if isinstance(content, Cap) and content.what == "latency_ms":
            found = latency(spec)
            if found is not None and found > content.at_most:
                said = f"{content.say()}; measured: {found:.4g} ms"
                return f"{spec} breaks {directive.name} ({said}). {HOLDS}", directive.id
    return None


def allowed_rows(facts: Facts, active: Sequence[DirectiveRow]) -> Mask:
    """Which rows of the facts the budget and every limit that can be counted leave."""
    return _left(facts, map(directive_of, active), facts.rows, facts.within_budget)


def allowed_among(facts: Facts, active: Sequence[DirectiveRow], rows: Rows) -> Mask:
    """The same of any rows."""
    return _left(facts, map(directive_of, active), rows, facts.costs(rows).macs(facts.convention) <= facts.budget_macs)


def allowed_networks(facts: Facts, directives: Iterable[DirectiveKind]) -> Rows:
    """Every network that the budget and what can be counted leave, in a spelling that obeys."""
    limits = tuple(directives)
    facts = narrowed_facts(facts, limits)
    fits = _left(facts, limits, facts.rows, facts.within_budget)
    return np.vstack([facts.rows[fits], otherwise_spelled(facts, limits, fits)])


def otherwise_spelled(facts: Facts, directives: Iterable[DirectiveKind], fits: Mask) -> Rows:
    """The networks whose row does not fit, but another spelling does: limits are of the numbers as they are written."""
    limits = tuple(directives)
    if not any(isinstance(limit, Shape) for limit in limits):
        return facts.rows[:0]
    rows, of = facts.respelled
    left = _left(facts, limits, rows, ~fits[of] & facts.within_budget[of])
    return distinct(rows[left], facts.protocol.settings.family)


def narrowed_facts(facts: Facts, directives: Iterable[DirectiveKind]) -> Facts:
    """The facts of a huge space, of which a sample is looked at, for what directives leave of its choices."""
    if facts.space.is_enumerable:
        return facts
    return replace(facts, space=narrowed_space(facts.space, directives))


def _left(facts: Facts, directives: Iterable[DirectiveKind], rows: Rows, fits: Mask) -> Mask:
    for directive in directives:
        if isinstance(directive, Limit):
            fits = fits & directive.mask(rows, facts)
    return fits


@dataclass(frozen=True)
class Contradiction:
    """Why a new directive cannot be obeyed beside what holds, with both texts, and what would have to go for it."""

    sentence: str
    in_the_way: tuple[DirectiveRow, ...]


def contradictions(
    new: Directive, active: Sequence[DirectiveRow], facts: Facts, text: str | None = None
) -> list[Contradiction]:
    """What stands against a new directive that can be obeyed by itself; nothing where it can be obeyed.

    Whether any spec is left is counted exactly on the whole space, but for caps on latency, which are measured, and for
    a huge space, of which a sample is looked at.
    """
    said = f'"{text or new.say()}"'
    found = [
        Contradiction(f"{said} contradicts {directive.name}: {why}", (directive,))
        for directive in active
        if (why := _clash(new, directive_of(directive), facts))
    ]
    return found or _nothing_left(new, said, active, facts)


def impossible(new: DirectiveKind, facts: Facts) -> str | None:
    """Why a directive cannot be obeyed in this search, whatever else holds; None where it can."""
    if isinstance(new, StrategyBounds) and not facts.searches_strategies:
        return "cannot be obeyed: the strategy of this search is fixed; bound it in `diffnas-agent strategy`"
    if isinstance(new, Limit | Try | Mode) and facts.searches_strategies:
        return "cannot be obeyed: this search looks for a training strategy, not for a spec"
    if isinstance(new, Try):
        return _why_not_try(new.spec, facts)
    if isinstance(new, Limit) and not len(allowed_networks(facts, [new])):
        return f"leaves none of the {facts.counted(int(facts.within_budget.sum()))} networks that fit the budget"
    return None


def _why_not_try(spec: UNetSpec, facts: Facts) -> str | None:
    if outside := facts.space.why_not(spec):
        return f"cannot be obeyed: {outside}"
    macs = int(facts.costs(np.array([spec.row], dtype=np.int64)).macs(facts.convention)[0])
    return f"cannot be obeyed: {spec} is over the budget" if macs > facts.budget_macs else None


def _clash(new: DirectiveKind, old: DirectiveKind, facts: Facts) -> str | None:
    """Why two directives cannot both be obeyed."""
    if isinstance(new, Limit) and isinstance(old, Limit):
        both = allowed_networks(facts, [new, old])
        return None if len(both) else "no spec of the space obeys both within the budget"
    for limit, wish in ((new, old), (old, new)):
        if isinstance(limit, Limit) and isinstance(wish, Try):
            rows = np.array([wish.spec.row], dtype=np.int64)
            return None if limit.mask(rows, facts)[0] else f"{wish.spec} would be refused"
    if isinstance(new, StrategyBounds) and isinstance(old, StrategyBounds) and new.field == old.field:
        apart = new.high < old.low or old.high < new.low
        return f"no {new.field} lies within both" if apart else None
    if any(isinstance(new, kind) and isinstance(old, kind) for kind in REPLACED) and new != old:
        return "only one of them can hold"
    if {type(new), type(old)} == {Stop, Rounds}:
        return "a search that is stopped begins no further round"
    return None


def _nothing_left(new: DirectiveKind, said: str, active: Sequence[DirectiveRow], facts: Facts) -> list[Contradiction]:
    """The contradiction of limits of which each pair can be obeyed, but not all at once."""
    limits = [directive for directive in active if isinstance(directive_of(directive), Limit)]

    def leave(*kept: DirectiveRow) -> bool:
        return bool(len(allowed_networks(facts, [*map(directive_of, kept), new])))

    if not isinstance(new, Limit) or leave(*limits):
        return []
    if not len(allowed_networks(facts, map(directive_of, limits))):
        return []  # nothing was left before
    names = " and ".join(directive.name for directive in limits)
    sentence = f"{said} contradicts {names} together: no spec of the space obeys all of them within the budget"
    one = next((each for each in limits[::-1] if leave(*(other for other in limits if other is not each))), None)
    return [Contradiction(sentence, (one,) if one else tuple(limits))]
