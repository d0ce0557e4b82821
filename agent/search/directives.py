"""What a search does about directives between its rounds: orders are carried out once, the first obedience is noted.

Whatever an order changes, and that it was carried out, is one transaction: a process that is killed at any instant
neither loses an order nor carries it out twice. A pause stays active until it is lifted, a try until its round has a
trial, a stop until the search has ended. Limits are enforced where specs are proposed (`tools.gates.directives`).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlite_utils import Database

from diffusion.spec import UNetSpec
from memory.connection import transaction
from memory.directives import DirectiveRow, active_directives, cite, finish_directive, see_directive, undo_directive
from memory.redaction import redact
from memory.searches import State, change_config, change_search, find_search, set_state
from memory.trials import record_refusal, trial_in_round
from tools.context import SearchContext
from tools.errors import Refused
from tools.gates.directive_kinds import LASTING, Allowance, Backend, Rounds, directive_of

NAMED = re.compile(r"\bdirective (\d{1,18})\b")


@dataclass(frozen=True)
class Due:
    """What is to be done before the next round begins; the changes of settings are in memory already."""

    active: tuple[DirectiveRow, ...] = ()  # all that held, as it was found
    pause: DirectiveRow | None = None
    stop: DirectiveRow | None = None
    try_next: DirectiveRow | None = None
    rounds: int | None = None
    backend: DirectiveRow | None = None
    allowance: dict[str, float | int] = field(default_factory=dict)
    obeyed: tuple[tuple[DirectiveRow, str], ...] = ()  # carried out just now, and what came of each


def obey(
    db: Database,
    search: int,
    round_number: int,
    *,
    begins: bool = True,
    ready: Collection[int] = (),
    unusable: Mapping[int, str] | None = None,
) -> Due:
    """Look at the directives before a round, which `begins` if nothing keeps it; carry out what changes settings.

    `ready` are the directives whose backend can be used, `unusable` those whose backend cannot, with the reason; any
    other waits. The baseline, round 0, is no candidate: limits and tries begin with the round after it.
    """
    with transaction(db):
        active = active_directives(db, search)
        done = _tries_over(db, active)
        for directive in active:
            if (what := _carry_out(db, directive, ready, unusable or {})) is not None:
                done.append((directive, what))
            elif begins and round_number and directive.kind in LASTING:
                see_directive(db, directive.id, round_number)
        for directive, what in done:
            carried_out(db, directive, round_number, what)
        over = {directive.id for directive, _ in done}
        waiting = [each for each in active if each.id not in over]
        try_next = _next_try(db, round_number, waiting) if begins and round_number else None
        cite_reasons(db, search)
    changes = [directive_of(each) for each in active if each.id in over]
    return Due(
        active=tuple(active),
        pause=next((each for each in active if each.kind == "pause"), None),
        stop=next((each for each in active if each.kind == "stop"), None),
        try_next=try_next,
        rounds=next((each.rounds for each in changes[::-1] if isinstance(each, Rounds)), None),
        backend=next((each for each in active[::-1] if each.id in over and each.id in ready), None),
        allowance=dict(limit for each in changes if isinstance(each, Allowance) for limit in each.limits.items()),
        obeyed=tuple(done),
    )


def carried_out(db: Database, directive: DirectiveRow, round_number: int, what: str) -> None:
    """An order is over: done, seen and cited, all or nothing."""
    with transaction(db):
        see_directive(db, directive.id, round_number)
        finish_directive(db, directive.id)
        cite(db, directive.id, round_number, what)


def refuse_try(context: SearchContext, directive: DirectiveRow, spec: UNetSpec, objection: Refused) -> None:
    """The spec that a person asked for is refused: the refusal and the end of the order are one transaction."""
    db = context.db
    with transaction(db):
        proposal = record_refusal(
            db,
            context.search,
            context.round_number,
            proposer=context.proposer,
            raw_text=directive.text,
            spec=spec,
            reason=None,
            refusal=str(objection),
            kind=objection.kind,
        )
        if objection.directive is not None:
            cite(db, objection.directive, context.round_number, f"refused {spec}")
        carried_out(db, directive, context.round_number, f"refused: {objection}")
    context.report(
        "trial.refused",
        proposal=proposal,
        spec=str(spec),
        proposer=context.proposer,
        reason=redact(str(objection)),
    )


def end_search(db: Database, search: int, round_number: int, state: State, reason: str) -> list[DirectiveRow]:
    """End a search, and with it the orders to stop; gives these."""
    with transaction(db):
        stops = [each for each in active_directives(db, search) if each.kind == "stop"]
        for stop in stops:
            carried_out(db, stop, round_number, "the search ended")
        cite_reasons(db, search)
        set_state(db, search, state, reason)
    return stops


def lift_pauses(db: Database, search: int) -> list[DirectiveRow]:
    """Take back every pause that is active; gives them. What `resume` does before anything else."""
    with transaction(db):
        pauses = [each for each in active_directives(db, search) if each.kind == "pause"]
        return [undo_directive(db, search, pause.id) for pause in pauses]


def cite_reasons(db: Database, search: int) -> None:
    """Cite the directives that the reason of an accepted proposal names, such as "directive 3"; once for each."""
    known = {row["id"] for row in db.conn.execute("SELECT id FROM directives WHERE search = ?", [search])}
    if not known:
        return
    rows = db.conn.execute(
        "SELECT trials.id AS trial, trials.round, proposals.reason FROM trials"
        " JOIN proposals ON proposals.id = trials.proposal"
        " WHERE trials.search = ? AND proposals.reason LIKE '%directive %'",
        [search],
    )
    for row in rows.fetchall():
        for number in sorted({int(found) for found in NAMED.findall(row["reason"])} & known):
            cite(db, number, row["round"], f"named in the reason of trial {row['trial']}")


def _tries_over(db: Database, active: list[DirectiveRow]) -> list[tuple[DirectiveRow, str]]:
    """The tries whose round has its trial: a killed process had come so far."""
    over = []
    for directive in active:
        if directive.kind == "try" and directive.seen_round is not None:
            trial = trial_in_round(db, directive.search, directive.seen_round)
            if trial is not None:
                over.append((directive, f"trial {trial.id}"))
    return over


def _carry_out(
    db: Database, directive: DirectiveRow, ready: Collection[int], unusable: Mapping[int, str]
) -> str | None:
    """Change what an order about settings says; what came of it, or None for another one."""
    content = directive_of(directive)
    if isinstance(content, Rounds | Allowance):
        return _changed(db, directive.search, content)
    if isinstance(content, Backend) and directive.id in ready:
        return _swapped(db, directive.search, content)
    return f"cannot be used: {unusable[directive.id]}" if directive.id in unusable else None


def _next_try(db: Database, round_number: int, active: list[DirectiveRow]) -> DirectiveRow | None:
    """The oldest try that waits, if the round is free for it; it is noted as this round's."""
    tries = [each for each in active if each.kind == "try"]
    stopped = any(each.kind in ("pause", "stop") for each in active)
    if not tries or stopped or trial_in_round(db, tries[0].search, round_number):
        return None
    under_way = next((each for each in tries if each.seen_round == round_number), None)
    waiting = [each for each in tries if each.seen_round is None]
    chosen = under_way or (waiting[0] if waiting else None)
    if chosen is not None:
        see_directive(db, chosen.id, round_number)
    return chosen


def _changed(db: Database, search: int, content: Rounds | Allowance) -> str:
    """Keep other rounds or another allowance; what changed."""
    if isinstance(content, Allowance):
        change_config(db, search, dict(content.limits))
        return content.say()
    row = find_search(db, search)
    change_search(db, search, rounds=content.rounds, backend=row.backend)
    change_config(db, search, {"rounds": content.rounds})
    return f"{row.rounds} → {content.rounds} rounds"


def _swapped(db: Database, search: int, content: Backend) -> str:
    """Keep another backend; what changed."""
    row = find_search(db, search)
    change_search(db, search, rounds=row.rounds, backend=content.llm)
    change_config(db, search, {"llm": content.llm, "base_url": content.base_url})
    return f"{row.backend} → {content.llm}"
