"""What a person wants done to a search: shown with its effect, agreed to where that is due, then stored or begun.

A slash form says what it means by itself, so that only what stands against it is asked about; what a model's hands do
is always asked about. Each method gives what became of the wish, for a model.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlite_utils import Database

from agent.chat.answers import at_work
from agent.chat.spawn import Started, start
from agent.chat.window.agreement import agreement
from agent.chat.window.voice import Voice
from agent.config.kinds import KINDS
from diffusion.errors import UserError, command
from diffusion.spec import UNetSpec
from diffusion.units import format_size
from memory.connection import transaction
from memory.directives import (
    DirectiveRow,
    active_directives,
    add_directive,
    find_directive,
    latest_directive,
    replaced_directives,
    undo_directive,
)
from memory.leases import is_driven
from memory.queries.progress import remaining
from memory.searches import SearchRow, find_search
from memory.transcript import add_message
from memory.trials import find_trial
from tools.context import SearchContext
from tools.errors import JobFailed
from tools.gates.directive_kinds import Backend, Directive, Mode, arguments_of, described
from tools.gates.directives import allowed_networks, contradictions, directive_of, facts_of, impossible
from tools.gates.facts import Facts
from tools.gates.limits import Cap, DirectiveKind, Limit

SAID_NO = "The person said no: nothing was {done}. Ask what they want instead."


@dataclass
class Steering:
    """The wishes of one conversation; `kept` is what was typed where a yes or no was due."""

    context: SearchContext
    voice: Voice
    begin: Callable[[Sequence[str], Path], Started] = start  # a search in a process of its own
    kept: list[str] = field(default_factory=list)

    @property
    def row(self) -> SearchRow:
        """The search as it stands now."""
        return find_search(self.context.db, self.context.search)

    def give(
        self, directive: Directive, text: str, key: str, *, message: str | None = None, always_ask: bool = False
    ) -> str:
        """Show a directive with its effect and what stands against it, ask where that is due, and store it.

        What stands against it goes with the same yes. A `message` is stored with it, both or none.

        Raises:
            UserError: the search takes no directives, or can never obey this one.
        """
        row, db = self.row, self.context.db
        if not KINDS[row.kind].takes_directives:
            raise UserError(f"'{text}': {row.name} is no search with proposals ({row.kind}) and takes no directives")
        active, facts = active_directives(db, row.id), facts_of(self.context)
        if why := impossible(directive, facts):
            raise UserError(f"'{text}' {why}")
        against = contradictions(directive, active, facts, text)
        in_the_way = list({each.id: each for found in against for each in found.in_the_way}.values())
        doubts = [*(found.sentence for found in against), *_unusable(directive)]
        lines = [f"Directive: {directive.say()}."]
        if isinstance(directive, Limit):
            lines.append(_effect(directive, facts, active, [each for each in active if each not in in_the_way]))
        self.voice.say(*lines, *(f"But {sentence}." for sentence in doubts))
        place = f" in the place of {_named(in_the_way)}" if in_the_way else ""
        if (always_ask or doubts) and not self._agreed(f"Give it{place}? (y/n) "):
            self.voice.say("Not given.")
            return self._declined("stored")
        with transaction(db):
            _keep(db, row.id, message, key)
            arguments, replaces = arguments_of(directive), [each.id for each in in_the_way]
            number = add_directive(db, row.id, directive.kind, arguments, text, key=key, replaces=replaces)
        when = self._when(row)
        self.voice.say(f"Directive {number} is given{place}; {when}.")
        return f"Stored as directive {number}{place}: {directive.say()}; {when}." + self._also_said()

    def take_back(
        self, number: int | None, text: str, key: str, *, message: str | None = None, always_ask: bool = False
    ) -> str:
        """Take a directive back, the latest active one if none is named, and say what holds then.

        Raises:
            UserError: there is none, or it is not active any more.
        """
        row, db = self.row, self.context.db
        asked = latest_directive(db, row.id) if number is None else find_directive(db, row.id, number)
        if asked.state == "active" and always_ask and not self._agreed(f"Take back {described(asked)}? (y/n) "):
            self.voice.say("Not taken back.")
            return self._declined("changed")
        others = [each for each in active_directives(db, row.id) if each.id != asked.id]
        facts = facts_of(self.context)
        back = [
            each
            for each in replaced_directives(db, row.id, asked.id)
            if not contradictions(directive_of(each), others, facts)
        ]
        with transaction(db):
            _keep(db, row.id, message, key)
            undo_directive(db, row.id, asked.id, restore=[each.id for each in back])
        said = [f"Taken back: {described(asked)}.", *_in_force(asked, back, others, facts)]
        self.voice.say(*said)
        return " ".join(said) + self._also_said()

    def go_on(self, text: str, key: str, *, always_ask: bool = False) -> str:
        """Lift the pause of the search, and have a process go on with it where none drives it.

        Raises:
            UserError: it is not paused, has played its rounds, or must be gone on with on a terminal.
        """
        row, db = self.row, self.context.db
        pauses = [each for each in active_directives(db, row.id) if each.kind == "pause"]
        held = is_driven(db, row.id)
        if not pauses and held:
            raise UserError(f"'{text}': {row.name} is {row.state}, not paused")
        if always_ask and not self._agreed(f"Go on with {row.name}? (y/n) "):
            self.voice.say("Not gone on with.")
            return self._declined("begun")
        done = [
            self.take_back(pause.id, text, f"{key}-{number}", message=None if always_ask else text)
            for number, pause in enumerate(pauses)
        ]
        if not held:
            self._check_may_go_on(row, text)
            self.voice.say("No process drives the search; one is started.")
            begun = self.begin(["resume", row.name], self.context.db_path).sentence()
            self.voice.say(begun)
            done.append(begun)
        return " ".join(done) + self._also_said()

    def _check_may_go_on(self, row: SearchRow, text: str) -> None:
        db = self.context.db
        left = remaining(db, row.id)[0]["rounds_left"]
        more = any(each.kind == "rounds" for each in active_directives(db, row.id))
        if not left and not more:
            raise UserError(f"'{text}': all rounds of {row.name} are played; give it more first, such as /rounds 20")
        approves = json.loads(row.config_json).get("approve")
        if approves or not KINDS[row.kind].takes_directives:
            why = "asks before each training" if approves else "is no search with proposals"
            again = command("resume", row.name, db=self.context.db_path)
            raise UserError(f"'{text}': {row.name} {why}; go on with it on a terminal: {again}")

    def compress(self, trial: int, target: float, text: str) -> str:
        """Show what a compression would be, ask, and have a process begin it.

        Raises:
            UserError: there is no such trial, it is not trained, or nothing can be started.
        """
        known = find_trial(self.context.db, trial)
        if known.training_state != "done":
            raise UserError(f"'{text}': trial {trial} is not trained; /best lists those that are")
        size = f"{format_size(known.macs_paper)} MACs, {format_size(known.params)} params"
        self.voice.say(f"A compression of trial {trial}, {known.spec} ({size}), to at most {target:.0%} of both.")
        if not self._agreed("Begin it? (y/n) "):
            self.voice.say("Not begun.")
            return self._declined("begun")
        begun = self.begin(["compress", str(trial), "--target", f"{target:g}"], self.context.db_path).sentence()
        self.voice.say(begun)
        return begun + self._also_said()

    def latency(self, spec: UNetSpec) -> str:
        """How long one image takes through a network, measured the first time.

        Raises:
            UserError: it cannot be measured here.
        """
        from tools.gates.latency import latency_ms

        try:
            found = latency_ms(self.context, spec)
        except JobFailed as error:
            raise UserError(f"'{spec}': {error}") from None
        share = self.context.jobs.share
        return f"{spec}: {found:.4g} ms a forward pass of one image ({share.device}, {share.threads} threads)."

    def _agreed(self, question: str) -> bool:
        answer = agreement(self.voice.asked, self.voice.say, question)
        self.kept += answer.else_typed
        return answer.agreed

    def _declined(self, done: str) -> str:
        return SAID_NO.format(done=done) + self._also_said()

    def _also_said(self) -> str:
        """What else the person typed, for a model; a slash form leaves it to whoever takes the next line."""
        return f" While they were asked they also typed: {json.dumps(self.kept)}." if self.kept else ""

    def _when(self, row: SearchRow) -> str:
        if row.state == "running":
            return "; ".join(["it is obeyed from the next round on", *at_work(self.context.db, row)])
        if row.state == "paused":
            return "it is obeyed when the search goes on: /resume"
        return f"it is obeyed when the search goes on: {command('resume', row.name, db=self.context.db_path)}"


def _keep(db: Database, search: int, message: str | None, key: str) -> None:
    if message is not None:
        add_message(db, search, "user", message, key=key)


def _named(directives: Sequence[DirectiveRow]) -> str:
    """Their numbers, for people."""
    numbers = [str(each.id) for each in directives]
    if len(numbers) == 1:
        return f"directive {numbers[0]}"
    return f"directives {', '.join(numbers[:-1])} and {numbers[-1]}"


def _left(facts: Facts, directives: Sequence[DirectiveKind]) -> str:
    return facts.counted(len(allowed_networks(facts, directives)))


def _effect(limit: Limit, facts: Facts, active: Sequence[DirectiveRow], kept: Sequence[DirectiveRow]) -> str:
    """How many networks a limit leaves beside what is kept, where that can be counted."""
    before = _left(facts, [directive_of(each) for each in active])
    if isinstance(limit, Cap) and limit.what == "latency_ms":
        return f"Which of the {before} allowed networks are too slow is measured as each is proposed."
    after = _left(facts, [*(directive_of(each) for each in kept), limit])
    return f"It leaves {after} of {before} networks that are allowed now."


def _in_force(
    gone: DirectiveRow, back: Sequence[DirectiveRow], others: Sequence[DirectiveRow], facts: Facts
) -> list[str]:
    """What holds once a directive is taken back."""
    said = [f"In force again: {described(each)}." for each in back]
    content = directive_of(gone)
    if isinstance(content, Mode) and not back:
        older = [each for each in others if isinstance(directive_of(each), Mode)]
        said += [f"In force again: {described(older[-1])}."] if older else []
    if isinstance(content, Limit):
        kept = [directive_of(each) for each in others]
        before, after = _left(facts, [*kept, content]), _left(facts, [*kept, *map(directive_of, back)])
        said.append(f"{after} networks are allowed now, {before} before.")
    return said


def _unusable(directive: Directive) -> list[str]:
    """Why a backend cannot be used from here; the process that drives the search may have what is missing.

    Raises:
        UserError: it is none.
    """
    if not isinstance(directive, Backend):
        return []
    from agent.backends.registry import check_backend, split_backend
    from agent.config.backend import OFFLINE

    if directive.llm != OFFLINE:
        split_backend(directive.llm)
    try:
        check_backend(directive.llm, directive.base_url)
    except UserError as error:
        return [f"seen from here, {error}"]
    return []
