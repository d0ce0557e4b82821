"""Who steers one drive of a search: looks at the directives before each round, says what changed, waits while paused.

What is carried out, and when it counts as done, is `agent.search.directives`'s; what a round does with it is
`agent.search.loop`'s.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from agent.search.directives import Due, carried_out, obey, refuse_try
from agent.searchers.base import MakeProposer, Proposer
from diffusion.errors import UserError
from memory.directives import DirectiveRow, active_directives, all_directives, cite
from memory.searches import set_state
from tools.context import SearchContext
from tools.errors import Interrupted, Refused
from tools.gates.directive_kinds import Backend, Try, directive_of
from tools.gates.specs import refusal
from tools.jobs.training import train_candidate

POLL_SECONDS = 1.0  # how long a typed word waits while the search is paused
USER = "user"  # who proposes what a person asked for


class Listener:
    """The directives of one search, as one process follows them."""

    def __init__(self, context: SearchContext, make_proposer: MakeProposer | None) -> None:
        self.context, self.make_proposer = context, make_proposer
        self.known: set[int] = set()  # the active ones that this process, or one before it, has said
        self.known |= {each.id for each in active_directives(context.db, context.search) if each.seen_round is not None}

    def look(self, round_number: int, begins: bool) -> tuple[Due, Proposer | None]:
        """What is to be done before a round; with another backend, who proposes from now on."""
        made, unusable = self._made()
        due = obey(
            self.context.db, self.context.search, round_number, begins=begins, ready=made.keys(), unusable=unusable
        )
        self._say(due, round_number)
        if due.allowance and self.context.services.allowance is not None:
            self.context.services.allowance.change(**due.allowance)
        return due, made[due.backend.id] if due.backend else None

    def wait(self, pause: DirectiveRow, round_number: int, look: Callable[[], Due]) -> bool:
        """Wait until a pause is lifted or the search is to stop; False if the user interrupts it."""
        context, started = self.context, time.monotonic()
        db = context.db
        set_state(db, context.search, "paused", pause.name)
        cite(db, pause.id, round_number, f"paused before round {round_number}")
        self.obeyed(pause, round_number, "paused")
        due = look()
        while due.pause and not due.stop:
            if context.services.stop.wait(POLL_SECONDS):
                return False
            due = look()
        if context.services.allowance is not None:
            context.services.allowance.idle(time.monotonic() - started)
        set_state(context.db, context.search, "running")
        return True

    def begins(self, number: int, rounds: int) -> tuple[bool, int]:
        """Whether a round of so many is to begin, and how many there are now; a pause is waited out.

        Raises:
            Interrupted: the user stops the search while it is paused.
        """

        def look() -> Due:
            nonlocal rounds
            due, _ = self.look(number, number <= rounds)
            rounds = rounds if due.rounds is None else due.rounds
            return due

        due = look()
        if due.pause and not due.stop and number <= rounds:
            if not self.wait(due.pause, number, look):
                raise Interrupted
            due = look()
        return number <= rounds and not due.stop, rounds

    def try_spec(self, context: SearchContext, directive: DirectiveRow) -> int | None:
        """Train the spec that a person asked for as the round's trial; None where it is refused."""
        asked = directive_of(directive)
        assert isinstance(asked, Try)
        context = replace(context, proposer=USER)
        if objection := refusal(context, asked.spec):
            self._refused(context, directive, asked, objection)
            return None

        def begun() -> None:
            self._over(directive, context.round_number, f"tried in round {context.round_number}")

        try:
            return train_candidate(
                context.watched("trial.started", begun), asked.spec, f"The user asked for it: {directive.name}."
            ).trial
        except Refused as objection:  # the user thought again, or another round was faster
            self._over(directive, context.round_number, f"refused: {objection}")
            return None

    def obeyed(self, directive: DirectiveRow, round_number: int, what: str) -> None:
        """Say that a directive was carried out."""
        self.context.report("directive.obeyed", **event_of(directive), round=round_number, what=what)

    def _refused(self, context: SearchContext, directive: DirectiveRow, asked: Try, objection: Refused) -> None:
        refuse_try(context, directive, asked.spec, objection)
        self.obeyed(directive, context.round_number, f"refused: {objection}")

    def _over(self, directive: DirectiveRow, round_number: int, what: str) -> None:
        carried_out(self.context.db, directive, round_number, what)
        self.obeyed(directive, round_number, what)

    def _made(self) -> tuple[dict[int, Proposer], dict[int, str]]:
        """Proposers for the backends that were asked for, by directive, and why others cannot be used."""
        asked = [each for each in active_directives(self.context.db, self.context.search) if each.kind == "backend"]
        made: dict[int, Proposer] = {}
        unusable: dict[int, str] = {}
        for directive in asked:
            backend = directive_of(directive)
            assert isinstance(backend, Backend)
            if self.make_proposer is None:
                unusable[directive.id] = "this search has no backend to swap"
                continue
            try:
                made[directive.id] = self.make_proposer(backend.llm, backend.base_url)
            except UserError as error:
                unusable[directive.id] = str(error)
        return made, unusable

    def _say(self, due: Due, round_number: int) -> None:
        """The events of what is new, taken back, or carried out."""
        for directive in due.active:
            if directive.id not in self.known:
                self.context.report("directive.added", **event_of(directive), round=round_number)
        gone = self.known - {directive.id for directive in due.active}
        if gone:
            every = all_directives(self.context.db, self.context.search)
            for directive in every:
                if directive.id in gone and directive.state == "undone":
                    self.context.report("directive.removed", **event_of(directive), round=round_number)
        for directive, what in due.obeyed:
            self.obeyed(directive, round_number, what)
        self.known = {directive.id for directive in due.active}


def event_of(directive: DirectiveRow) -> dict[str, object]:
    """How an event names a directive."""
    return {"directive": directive.id, "kind": directive.kind, "text": directive.text, "author": directive.author}
