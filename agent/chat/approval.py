"""``--approve``: before each training a person approves the proposal, writes another spec, or rejects it with a reason.

Who is asked and how lines reach us is `agent.chat.window.inbox`'s; that nothing is spent before is the tool
`train_ract`'s. Trainings that repeat a spec with another seed are no proposals and are not asked about.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from diffusion.errors import UserError
from diffusion.spec import UNetSpec
from diffusion.units import format_size, printable
from memory.redaction import redact
from memory.transcript import decision_on, record_decision
from tools.context import Decision, SearchContext
from tools.errors import Interrupted
from tools.gates.specs import refusal

BASELINE, USER = "baseline", "user"  # proposers: every search has the one, and the other has said what it wants
CHOICES = "approve (a), write another spec, or reject REASON (r REASON)"
CHOICES_ALONE = "approve (a), or write another spec; Ctrl-C stops the search"
YES = ("a", "approve", "y", "yes")
NO = ("r", "reject", "n", "no")
LOOKS_LIKE_A_SPEC = re.compile(r"\s*(b\d|\{)", re.IGNORECASE)
REASON_CHARACTERS = 300


@dataclass
class Approver:
    """Asks about one proposal at a time; `ask` gives None when nobody answers any more."""

    ask: Callable[[str], str | None]
    one_at_a_time: Lock = field(default_factory=Lock)

    def __call__(self, context: SearchContext, spec: UNetSpec, reason: str) -> Decision:
        """What the person decided, now or before this process was started anew.

        Raises:
            Interrupted: the search is being stopped, or standard input has ended.
        """
        if context.proposer == USER:
            return Decision(spec)
        with self.one_at_a_time:
            stored = decision_on(context.db, context.search, context.round_number, spec)
            if stored is not None:
                return Decision(UNetSpec.parse(stored["spec"]), stored["rejected"])
            decision = self._asked(context, spec, reason)
            record_decision(
                context.db,
                context.search,
                context.round_number,
                spec,
                spec=decision.spec,
                rejected=decision.rejected,
            )
            return decision

    def _asked(self, context: SearchContext, spec: UNetSpec, reason: str) -> Decision:
        question = _question(context, spec, reason)
        while True:
            answer = self.ask(question)
            if answer is None:
                raise Interrupted
            try:
                return understood(context, spec, answer)
            except UserError as error:
                question = f"{printable(str(error))}. {_choices(context)}: "


def understood(context: SearchContext, spec: UNetSpec, answer: str) -> Decision:
    """A typed answer as a decision.

    Raises:
        UserError: it is none of the choices, lacks a reason, or names a spec that a gate refuses.
    """
    word, _, rest = answer.strip().partition(" ")
    rest = redact(" ".join(rest.split()))[:REASON_CHARACTERS]
    if word.lower() in YES and not rest:
        return Decision(spec)
    if word.lower() in NO:
        if context.proposer == BASELINE:
            raise UserError(f"'{answer}': a search begins with a baseline; write another spec, or stop it with Ctrl-C")
        if not rest:
            raise UserError(f"'{answer}' lacks the reason, which the model is told; write reject REASON")
        return Decision(spec, rest)
    if word.lower() in ("e", "edit"):
        return _edited(context, answer, rest)
    if LOOKS_LIKE_A_SPEC.match(answer):
        return _edited(context, answer, answer.strip())
    raise UserError(f"'{answer}' is not an answer")


def _edited(context: SearchContext, answer: str, text: str) -> Decision:
    """The spec that the person wrote, if the gates let it pass."""
    other = UNetSpec.parse(text)
    if objection := refusal(context, other):
        raise UserError(f"'{answer}': {str(objection).rstrip('.')}")
    return Decision(other)


def _choices(context: SearchContext) -> str:
    return CHOICES_ALONE if context.proposer == BASELINE else CHOICES


def _question(context: SearchContext, spec: UNetSpec, reason: str) -> str:
    cost = context.limits.cost(spec)
    macs = cost.macs.by(context.limits.convention)
    return (
        f"Round {context.round_number}: train {spec}? {format_size(macs)} MACs, "
        f"{macs / context.limits.budget_macs:.0%} of the budget, {format_size(cost.params)} params; "
        f"{context.proposer}: {printable(reason)}\n{_choices(context)}: "
    )
