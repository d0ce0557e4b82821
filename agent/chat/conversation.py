"""One conversation about a search: lines come in, answers go out, and wishes become directives in the memory.

It runs beside the search, in another process or in its own, and reaches it through the memory alone. A directive from
a model's hands is stored when the person has said yes; a slash form says what it means by itself, so that only a
contradiction is asked about. Where lines come from, and what is on the screen beside them, is the `Voice`'s.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlite_utils import Database

from agent.chat import answers as chat_answers
from agent.chat.slash import Command, complete, parse_slash
from agent.chat.spawn import Started, start
from agent.chat.voice import Voice, Words
from agent.config.kinds import KINDS
from agent.report.words import NO_MODEL
from diffusion.errors import UserError, command
from diffusion.units import format_size
from memory.connection import transaction
from memory.directives import DirectiveRow, active_directives, add_directive
from memory.queries.records import best
from memory.searches import SearchRow, find_search
from memory.transcript import add_message, recent_messages
from memory.trials import find_trial
from tools.context import SearchContext
from tools.errors import AllowanceSpent, Interrupted
from tools.gates.directive_kinds import Backend, Directive, arguments_of
from tools.gates.directives import allowed_networks, contradictions, directive_of, facts_of
from tools.gates.facts import Facts
from tools.gates.limits import Cap, Limit

if TYPE_CHECKING:
    from agent.chat.assistant import Assistant

QUIT = "/quit"
YES = ("y", "yes")
EARLIER_MESSAGES = 12
ROLES = ("user", "assistant")
BY_MEMORY = "memory"  # who answers without a model

MakeAssistant = Callable[["Chat"], "Assistant | None"]
CarryOut = Callable[["Chat", Command, str, str], None]  # (chat, command, line, key of its message)


@dataclass
class Chat:
    """The conversation; `take` is given one line after the other."""

    context: SearchContext
    voice: Voice
    carry_out: CarryOut  # what a slash command asks for
    make_assistant: MakeAssistant = field(default=lambda chat: None)
    identity: str = field(default_factory=lambda: secrets.token_hex(6))
    numbers: Any = field(default_factory=count)
    assistants: list["Assistant | None"] = field(default_factory=list)  # made when the first is needed
    words: Words | None = None  # of the answer that is being heard
    begin: Callable[[Sequence[str], Path], Started] = start  # a search in a process of its own

    def __post_init__(self) -> None:
        limits = replace(self.context.limits, told="search")  # a person may ask about what proposers are not told
        self.context = replace(self.context, limits=limits)

    @property
    def row(self) -> SearchRow:
        """The search as it stands now."""
        return find_search(self.context.db, self.context.search)

    @property
    def assistant(self) -> "Assistant | None":
        """Who answers in words; None: the memory alone."""
        if not self.assistants:
            self.assistants.append(self.make_assistant(self))
        return self.assistants[0]

    def take(self, line: str) -> bool:
        """Answer one line; False when the person leaves. What goes wrong with it is said, and the chat goes on."""
        line = line.strip()
        if not line:
            return True
        key = f"{self.identity}-{next(self.numbers)}"
        try:
            if not line.startswith("/"):
                self._answer(line, key)
                return True
            if line in (QUIT, "/exit"):
                return False
            self._obey(line, key)
        except UserError as error:
            self.voice.say(sentence(error))
        except AllowanceSpent as error:
            self.voice.say(f"The allowance of this search is used up: {error}. Slash commands still work.")
        except Interrupted:
            self.voice.say("No model is asked any more: the search is being stopped.")
        return True

    def completions(self, line: str) -> list[str]:
        """What the last word of a line may become, for the Tab key; with a space behind it where there is no choice."""
        db = self.context.db
        specs = [row["spec"] for row in best(db, self.context.search)]
        directives = [each.id for each in active_directives(db, self.context.search)]
        found = [QUIT] if line.startswith("/") and QUIT.startswith(line) else []
        found = [*complete(line, self.context.limits.space, specs, directives), *found]
        return [f"{found[0]} "] if len(found) == 1 and not found[0].endswith("=") else found

    def greet(self) -> None:
        """Where the search stands, who answers, and what was left unanswered."""
        db = self.context.db
        lines = chat_answers.how_far(db, self.context.search)
        last = conversation(db, self.context.search, 1)
        who = self.assistant.name if self.assistant else f"{NO_MODEL}: the memory"
        self.voice.say(*lines, f"{who} answers. /help lists the commands; /quit or Ctrl-D leaves, the search goes on.")
        if last and last[-1]["role"] == "user" and not last[-1]["text"].startswith("/"):
            self.voice.say(f'Your last message has no answer: "{last[-1]["text"]}"')

    def _answer(self, line: str, key: str) -> None:
        """Keep a message, answer it, keep the answer."""
        db = self.context.db
        earlier = conversation(db, self.context.search, EARLIER_MESSAGES)
        add_message(db, self.context.search, "user", line, key=key)
        if self.assistant is None:
            found = chat_answers.answer(self.context.db, self.context.search, line) or _without_a_model()
            self.voice.say(*found)
            text, author = "\n".join(found), BY_MEMORY
        else:
            text, author = self._heard(self.assistant, line, key, earlier)
        add_message(self.context.db, self.context.search, "assistant", text, author=author, key=f"{key}-answer")

    def _heard(self, assistant: "Assistant", line: str, key: str, earlier: Sequence[dict[str, Any]]) -> tuple[str, str]:
        """The answer of a model, said while it comes where the voice can."""
        from agent.backends.errors import BackendError

        given = count(1)

        def give(directive: Directive, said: str) -> str:
            return self.give(directive, said, f"{key}-{next(given)}", always_ask=True)

        def compress(trial: int, target: float) -> str:
            return self.compress(trial, target, line)

        self.words = Words(self.voice.console) if self.voice.streams else None
        try:
            text, author = assistant.answer(line, earlier, give, compress)
        except BackendError as error:
            raise UserError(
                f"'{assistant.name}' gives no answer ({error}); try again, or use a slash command (/help)"
            ) from None
        finally:
            if self.words is not None:
                self.words.end()
        if self.words is None:
            self.voice.say(*text.splitlines())
        return text, author

    def hear(self, text: str) -> None:
        """A piece of an answer."""
        if self.words is not None:
            self.words.add(text)

    def _obey(self, line: str, key: str) -> None:
        parsed = parse_slash(line, self.context.limits.space)
        if isinstance(parsed, Command):
            self.carry_out(self, parsed, line, key)
        else:
            self.give(parsed, line, key, message=line)

    def give(
        self, directive: Directive, text: str, key: str, *, message: str | None = None, always_ask: bool = False
    ) -> str:
        """Show a directive with its effect and what stands against it, ask where that is due, and store it.

        Gives what became of it, for a model. A `message` is stored with it, both or none.

        Raises:
            UserError: the search takes no directives.
        """
        row = self.row
        if not KINDS[row.kind].takes_directives:
            raise UserError(f"'{text}': {row.name} is no search with proposals ({row.kind}) and takes no directives")
        active = active_directives(self.context.db, row.id)
        facts = facts_of(self.context)
        against = contradictions(directive, active, facts, text) + _unusable(directive)
        lines = [f"Directive: {directive.say()}."]
        if isinstance(directive, Limit):
            lines.append(_effect(directive, facts, active))
        self._end_words()
        self.voice.say(*lines, *(f"But {sentence}." for sentence in against))
        if (always_ask or against) and not self._agreed("Give it? (y/n) "):
            self.voice.say("Not given.")
            return "The person said no: nothing was stored. Ask what they want instead."
        db = self.context.db
        with transaction(db):
            if message is not None:
                add_message(db, row.id, "user", message, key=key)
            arguments = arguments_of(directive)
            number = add_directive(db, row.id, directive.kind, arguments, text, key=key)
        when = _when(row, self.context.db_path)
        self.voice.say(f"Directive {number} is given; {when}.")
        return f"Stored as directive {number}: {directive.say()}; {when}."

    def compress(self, trial: int, target: float, text: str) -> str:
        """Show what a compression would be, ask, and have a process begin it; what became of it, for a model.

        Raises:
            UserError: there is no such trial, it is not trained, or nothing can be started.
        """
        known = find_trial(self.context.db, trial)
        if known.training_state != "done":
            raise UserError(f"'{text}': trial {trial} is not trained; /best lists those that are")
        size = f"{format_size(known.macs_paper)} MACs, {format_size(known.params)} params"
        self._end_words()
        self.voice.say(f"A compression of trial {trial}, {known.spec} ({size}), to at most {target:.0%} of both.")
        if not self._agreed("Begin it? (y/n) "):
            self.voice.say("Not begun.")
            return "The person said no: nothing was begun. Ask what they want instead."
        begun = self.begin(["compress", str(trial), "--target", f"{target:g}"], self.context.db_path).sentence()
        self.voice.say(begun)
        return begun

    def _agreed(self, question: str) -> bool:
        answer = self.voice.ask(question)
        return answer is not None and answer.strip().lower() in YES

    def _end_words(self) -> None:
        if self.words is not None:
            self.words.end()


def _effect(limit: Limit, facts: Facts, active: Sequence[DirectiveRow]) -> str:
    """How many networks a limit leaves, where that can be counted."""
    known = [directive_of(each) for each in active]
    before = facts.counted(len(allowed_networks(facts, known)))
    if isinstance(limit, Cap) and limit.what == "latency_ms":
        return f"Which of the {before} allowed networks are too slow is measured as each is proposed."
    after = facts.counted(len(allowed_networks(facts, [*known, limit])))
    return f"It leaves {after} of {before} networks that are allowed now."


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


def _when(row: SearchRow, db: Path) -> str:
    if row.state == "running":
        return "it is obeyed from the next round on"
    if row.state == "paused":
        return "it is obeyed when the search goes on: /resume"
    return f"it is obeyed when the search goes on: {command('resume', row.name, db=db)}"


def sentence(error: UserError) -> str:
    """What is wrong, with its full stop."""
    text = str(error)
    return text if text.endswith((".", "?", "!")) else f"{text}."


def conversation(db: Database, search: int, limit: int) -> list[dict[str, Any]]:
    """What people and the assistant said last, oldest first."""
    return [row for row in recent_messages(db, search, 4 * limit) if row["role"] in ROLES][-limit:]


def _without_a_model() -> list[str]:
    return [
        "Plain wishes need a language model: start the chat with --llm, or use a slash command (/help).",
        f"Without one the memory answers questions such as: {'; '.join(chat_answers.QUESTIONS)}.",
    ]
