"""One conversation about a search: lines come in, answers go out, and wishes become directives in the memory.

It runs beside the search, in another process or in its own, and reaches it through the memory alone. A directive from
a model's hands is stored when the person has said yes; a slash form says what it means by itself, so that only a
contradiction is asked about. Where lines come from, and what is on the screen beside them, is the `Voice`'s.
"""

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlite_utils import Database

from agent.chat import answers as chat_answers
from agent.chat.slash import Command, complete, parse_slash
from agent.chat.steering import Steering
from agent.chat.window.voice import Voice
from agent.report.words import NO_MODEL
from diffusion.errors import UserError
from memory.directives import active_directives
from memory.queries.records import best
from memory.searches import LIVE, SearchRow, find_search
from memory.transcript import add_message, recent_messages
from tools.context import SearchContext
from tools.errors import AllowanceSpent, Interrupted

if TYPE_CHECKING:
    from agent.chat.assistant import Assistant

QUIT = "/quit"
SHOWN_CHARACTERS = 60  # of a word
LONG = re.compile(r"\S{200,}")
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
    state: str = ""  # of the search, as somebody was last told it
    steering: Steering = field(init=False)

    def __post_init__(self) -> None:
        limits = replace(self.context.limits, told="search")  # a person may ask about what proposers are not told
        self.context = replace(self.context, limits=limits)
        self.steering = Steering(self.context, self.voice)

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

    def take(self, line: str, key: str | None = None) -> bool:
        """Answer one line, and what was typed where a yes or no was due; False when the person leaves.

        What goes wrong with it is said, and the chat goes on. A line that may be sent again has a `key` of its own,
        under which its message, its answer and its directives are kept once.
        """
        self.say_what_ended()
        stays = self._take(line, key)
        while stays and self.steering.kept:
            kept = self.steering.kept.pop(0)
            self.voice.say(f"You typed: {kept}")
            stays = self._take(kept)
        return stays

    def standing(self) -> str:
        """How far the search is, in a few words that are always of now."""
        return chat_answers.standing(self.context.db, self.context.search)

    def say_what_ended(self) -> None:
        """Say once that the search has ended since somebody was last told of its state."""
        row = self.row
        if self.state in LIVE and row.state not in LIVE:
            self.voice.say(f"{self.standing()}.")
        self.state = row.state

    def _take(self, line: str, key: str | None = None) -> bool:
        line = line.strip()
        if not line:
            return True
        key = key or f"{self.identity}-{next(self.numbers)}"
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
        self.state = self.row.state
        lines = chat_answers.how_far(db, self.context.search)
        last = conversation(db, self.context.search, 1)
        who = self.assistant.name if self.assistant else f"{NO_MODEL}: the memory"
        self.voice.say(*lines, f"{who} answers. /help lists the commands; /quit or Ctrl-D leaves, the search goes on.")
        if last and last[-1]["role"] == "user" and not last[-1]["text"].startswith("/"):
            self.voice.say(f'Your last message has no answer: "{last[-1]["text"]}"')

    def _answer(self, line: str, key: str) -> None:
        """Keep a message, answer it, keep the answer."""
        db = self.context.db
        said = conversation(db, self.context.search, EARLIER_MESSAGES)
        earlier = [each for each in said if each["key"] != key]
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

        with self.voice.answering(assistant.name):
            try:
                text, author = assistant.answer(line, earlier, self.steering, key)
            except BackendError as error:
                raise UserError(
                    f"'{assistant.name}' gives no answer ({error}); try again, or use a slash command (/help)"
                ) from None
            self.steering.kept.clear()  # the model was told of it
        if not self.voice.streams:
            self.voice.say(*text.splitlines())
        return text, author

    def _obey(self, line: str, key: str) -> None:
        parsed = parse_slash(line, self.context.limits.space)
        if isinstance(parsed, Command):
            self.carry_out(self, parsed, line, key)
        else:
            self.steering.give(parsed, line, key, message=line)


def sentence(error: UserError) -> str:
    """What is wrong, with its full stop; of an endless word the beginning."""
    text = LONG.sub(lambda found: f"{found[0][:SHOWN_CHARACTERS]}…", str(error))
    return text if text.endswith((".", "?", "!")) else f"{text}."


def conversation(db: Database, search: int, limit: int) -> list[dict[str, Any]]:
    """What people and the assistant said last, oldest first."""
    return [row for row in recent_messages(db, search, 4 * limit) if row["role"] in ROLES][-limit:]


def _without_a_model() -> list[str]:
    return [
        "Plain wishes need a language model: start the chat with --llm, or use a slash command (/help).",
        f"Without one the memory answers questions such as: {'; '.join(chat_answers.QUESTIONS)}.",
    ]
