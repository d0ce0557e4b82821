"""Where a chat is typed: on a terminal with history and completion, else line by line from standard input.

Ctrl-C drops the line that is being typed or breaks an answer off; Ctrl-D ends the chat. The history lies beside the
memory, with secrets taken out. What a line means is `agent.chat.conversation`'s.
"""

import os
import select
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from agent.chat.conversation import Chat
from agent.report.tables import say
from diffusion.units import visible
from memory.redaction import redact

PROMPT = "> "
HISTORY_LINES = 1000
CHUNK = 4096  # bytes
REFRESH_SECONDS = 1.0  # of what stands below the prompt

Complete = Callable[[str], list[str]]
PromptMaker = Callable[..., Any]  # a `prompt_session` that lacks its last options


class Left(Exception):  # not an error: the person's wish
    """No further line will come."""


@dataclass
class PlainInput:
    """Lines of a script or a test; each is shown, so that what was said can be read afterwards."""

    console: Console
    complete: Complete = field(default=lambda line: [])
    standing: Callable[[], str] | None = None  # shown on a terminal alone

    def line(self, prompt: str = PROMPT) -> str:
        """The next line.

        Raises:
            Left: standard input has ended.
        """
        self.console.print(prompt, end="", soft_wrap=True)
        line = sys.stdin.readline()
        if not line:
            self.console.print()
            raise Left
        line = line.rstrip("\n")
        if not sys.stdin.isatty():
            say(self.console, line, whole=True)
        return line

    def answer(self, question: str) -> str | None:
        """The line that answers a question; None when no line will come."""
        try:
            return self.line(question)
        except Left:
            return None


@dataclass
class TerminalInput:
    """Lines of a person on a terminal."""

    console: Console
    history_path: Path
    complete: Complete = field(default=lambda line: [])
    standing: Callable[[], str] | None = None  # of the search, below the prompt
    session: Any = field(init=False)
    early: list[str] = field(default_factory=list)  # lines that were typed before they were asked for
    begun: str = ""  # and one without its end

    def __post_init__(self) -> None:
        self.session = prompt_session(
            self.console, self.history_path, lambda line: self.complete(line), refresh_interval=REFRESH_SECONDS
        )

    def line(self, prompt: str = PROMPT) -> str:
        """The next line; one that Ctrl-C drops is followed by another.

        Raises:
            Left: Ctrl-D on an empty line.
        """
        if self.early:
            say(self.console, f"{prompt}{self.early[0]}", whole=True)
            return self.early.pop(0)
        while True:
            begun, self.begun = self.begun, ""
            try:
                return str(self.session.prompt(prompt, default=begun, bottom_toolbar=self.standing))
            except KeyboardInterrupt:
                say(self.console, "(Ctrl-D or /quit leaves the chat; the search goes on)")
            except EOFError:
                raise Left from None

    def answer(self, question: str) -> str | None:
        """The line that answers a question, which is no part of the history; None for Ctrl-C and Ctrl-D.

        What was typed before it was asked is no answer to it, but the next lines.
        """
        from prompt_toolkit import PromptSession

        *lines, self.begun = (self.begun + typed_ahead(self.session.input)).split("\n")
        self.early += [line for line in lines if line.strip()]
        try:
            return str(PromptSession[str](color_depth=self.session.color_depth).prompt(visible(question)))
        except (KeyboardInterrupt, EOFError):
            return None


def typed_ahead(source: Any) -> str:
    """What was typed at a terminal and not read yet: keys that a prompt left over, then what the terminal holds."""
    from prompt_toolkit.input.typeahead import get_typeahead

    keys = "".join(press.data for press in get_typeahead(source)).replace("\r", "\n")
    held = b""
    while select.select([source.fileno()], [], [], 0)[0]:
        data = os.read(source.fileno(), CHUNK)
        if not data:
            break  # the end of the input: the question will see it, too
        held += data
    return keys + held.decode("utf-8", "replace")


def prompt_session(
    console: Console,
    history_path: Path,
    complete: Complete,
    wanted: Callable[[str], bool] = lambda line: True,
    **options: Any,
) -> Any:
    """A prompt with completion by Tab and a history of the lines that are `wanted` in it, secrets taken out."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.output.color_depth import ColorDepth

    class RedactedHistory(FileHistory):
        def append_string(self, string: str) -> None:
            if wanted(string):
                super().append_string(string)

        def store_string(self, string: str) -> None:
            super().store_string(redact(string))

    _shorten(history_path)
    return PromptSession[str](
        history=RedactedHistory(str(history_path)),
        completer=_completer(complete),
        complete_while_typing=False,
        color_depth=ColorDepth.DEPTH_1_BIT if console.no_color else None,
        **options,
    )


def converse(chat: Chat, lines: "PlainInput | TerminalInput") -> None:
    """Take lines until the person leaves; Ctrl-C breaks off what one of them set going."""
    chat.greet()
    with suppress(Left):
        while True:
            line = lines.line()
            try:
                if not chat.take(line):
                    return
            except KeyboardInterrupt:
                chat.voice.say("", "(broken off)")


def input_of(console: Console, history_path: Path) -> PlainInput | TerminalInput:
    """How lines come in here."""
    if sys.stdin.isatty() and console.is_terminal and os.environ.get("TERM", "dumb") != "dumb":
        return TerminalInput(console, history_path)
    return PlainInput(console)


def history_beside(db_path: Path) -> Path:
    """The history lies beside the memory, one for all its searches."""
    return db_path.with_name(f"{db_path.stem}.chat-history")


def _completer(complete: Complete) -> Any:
    from prompt_toolkit.completion import Completer, Completion

    class Slash(Completer):
        def get_completions(self, document: Any, complete_event: Any) -> Iterable[Any]:
            typed = document.text_before_cursor
            for word in complete(typed):
                yield Completion(word, start_position=-len(typed.split(" ")[-1]))

    return Slash()


def _shorten(path: Path) -> None:
    """Keep the newest lines of a history; it is made readable for its owner alone."""
    path.touch(mode=0o600)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if len(lines) > 4 * HISTORY_LINES:
        path.write_text("\n".join(lines[-2 * HISTORY_LINES :]) + "\n", encoding="utf-8")
