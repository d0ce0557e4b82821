"""How a refusal is remembered and said."""

from diffusion.spec import UNetSpec
from memory.connection import transaction
from memory.directives import cite
from memory.redaction import redact
from memory.trials import record_refusal
from tools.context import SearchContext
from tools.errors import Refused

REASON_CHARACTERS = 500


def refuse(
    context: SearchContext, objection: Refused, *, spec: UNetSpec | None = None, reason: str = "", raw_text: str = ""
) -> None:
    """Write a refusal into memory and say it."""
    proposal = write_refusal(context, objection, str(spec), spec=spec, reason=reason, raw_text=raw_text)
    context.report(
        "trial.refused",
        proposal=proposal,
        spec=spec and str(spec),
        proposer=context.proposer,
        reason=redact(str(objection)),
    )


def write_refusal(
    context: SearchContext, objection: Refused, what: str, *, spec: UNetSpec | None = None, reason: str, raw_text: str
) -> int:
    """Write a refusal into memory, with the directive that caused it; the proposal's id."""
    db = context.db
    with transaction(db):
        if objection.directive is not None:
            cite(db, objection.directive, context.round_number, f"refused {what}")
        return record_refusal(
            db,
            context.search,
            context.round_number,
            proposer=context.proposer,
            raw_text=raw_text,
            spec=spec,
            reason=reason,
            refusal=str(objection),
            kind=objection.kind,
        )
