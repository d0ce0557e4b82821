"""What stands between a proposal and the expensive part: space, budget, repetition, the user's directives.

Nothing is spent before all agree, but for the measurement that a cap on latency asks for. Each gate returns a `Refused`
with a sentence that says what would be right, or None. They ask the memory and write no proposal.
"""

from collections.abc import Callable

from diffusion.cost.closed_form import Convention, Cost
from diffusion.networks import network
from diffusion.spec import UNetSpec
from diffusion.units import format_size
from memory.queries.records import spec_in_search
from memory.trials import trial_in_round
from tools.context import SearchContext
from tools.errors import JobFailed, Refused
from tools.gates.directives import objection as objection_of_a_directive

ENDED = {"failed": "failed", "pruned": "was stopped early, behind the others", "scored": "has no finite score"}

Gate = Callable[[SearchContext, UNetSpec], Refused | None]


def outside_space(context: SearchContext, spec: UNetSpec) -> Refused | None:
    """Every number must be one of the space's choices."""
    sentence = context.limits.space.why_not(spec)
    return Refused("outside_space", f"{spec}: {sentence}.") if sentence else None


def over_budget(context: SearchContext, spec: UNetSpec) -> Refused | None:
    """The closed-form count must not exceed the budget."""
    cost, budget = context.limits.cost(spec), context.limits.budget_macs
    macs = cost.macs.by(context.limits.convention)
    if macs <= budget:
        return None
    return Refused(
        "over_budget",
        f"{spec} costs {format_size(macs)} MACs ({context.limits.convention}), {format_size(macs - budget)} over the "
        f"budget of {format_size(budget)}; make it {macs / budget:.2f} times cheaper: narrower stages, fewer blocks or "
        f"less attention. {_shares(cost, context.limits.convention)}",
    )


def _shares(cost: Cost, convention: Convention) -> str:
    """Where the MACs of a spec are, as a fact: which of them to give up is for who proposes."""
    whole = cost.macs.by(convention)
    parts = ", ".join(f"{stage.macs.by(convention) / whole:.0%}" for stage in cost.stages)
    return f"Its stages (full resolution first) take {parts}."


def repeated(context: SearchContext, spec: UNetSpec) -> Refused | None:
    """A network is tried once per search, in whatever spelling; its score is in the sentence."""
    known = spec_in_search(context.db, context.search, spec)
    if known is None or known["round"] == context.round_number:
        return None
    is_spelled_anew = known["spec"] != str(spec)
    trial = f"trial {known['trial']} ({known['spec']})" if is_spelled_anew else f"trial {known['trial']}"
    if known["state"] in ("running", "trained"):
        said = f"is the network of {trial}, under way in" if is_spelled_anew else f"is under way as {trial} of"
        return Refused("repeated", f"{spec} {said} round {known['round']}. Propose a new spec.")
    outcome = f"scored {known['rfid']:.4g}" if known["rfid"] is not None else ENDED[known["state"]]
    said = f"is the network of {trial}, which" if is_spelled_anew else f"was tried already as {trial}: it"
    return Refused("repeated", f"{spec} {said} {outcome}. Propose a new spec.")


def round_taken(context: SearchContext, spec: UNetSpec) -> Refused | None:
    """A round trains one spec."""
    trial = trial_in_round(context.db, context.search, context.round_number)
    family = context.limits.protocol.settings.family
    if trial is None or network(trial.spec, family) == network(spec, family):
        return None
    return Refused(
        "round_taken",
        f"This round already has trial {trial.id} ({trial.spec}); call train_ract with that spec to go on with it.",
    )


def forbidden(context: SearchContext, spec: UNetSpec) -> Refused | None:
    """Every directive of the user that holds must leave the spec; the baseline is what they are compared with."""
    if context.round_number == 0:
        return None
    try:
        found = objection_of_a_directive(context, spec)
    except JobFailed as failure:
        return Refused("unmeasured", f"{failure}, and a directive of the user caps the latency. Propose another spec.")
    return Refused("directive", found[0], found[1]) if found else None


GATES: tuple[Gate, ...] = (outside_space, over_budget, repeated, round_taken, forbidden)


def refusal(context: SearchContext, spec: UNetSpec) -> Refused | None:
    """The first gate's objection, or None."""
    return next((objection for gate in GATES if (objection := gate(context, spec))), None)
