"""How a conversation is heard: where it is printed, who is asked, and an answer that comes word by word."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.status import Status
from rich.text import Text

from agent.report.console import is_plain
from agent.report.tables import say
from diffusion.units import printable, visible


@dataclass
class Words:
    """An answer that is heard word by word, broken between words at the edge of the window."""

    console: Console
    column: int = 0
    word: str = ""

    def add(self, text: str) -> None:
        """The next piece of it."""
        for character in text:
            if character.isspace():
                self._flush()
                self._space("\n" if character == "\n" else " ")
            else:
                self.word += printable(character)
        self._write("", flush=True)

    def end(self) -> None:
        """The answer, or a part before something else is printed, is over."""
        self._flush()
        if self.column:
            self._space("\n")

    def _flush(self) -> None:
        if self.column and self.column + len(self.word) > self.console.width:
            self._space("\n")
        self._write(self.word)
        self.column += len(self.word)
        self.word = ""

    def _space(self, character: str) -> None:
        fits = character == "\n" or 0 < self.column < self.console.width
        if fits:
            self._write(character)
        self.column = 0 if character == "\n" else self.column + fits

    def _write(self, text: str, flush: bool = False) -> None:
        """Past the console, which would end a line; the gate is the same."""
        try:
            self.console.file.write(visible(text))
            if flush:
                self.console.file.flush()
        except BrokenPipeError:
            self.console.on_broken_pipe()


@dataclass
class Voice:
    """How a conversation is heard: where it is printed, who is asked, whether words come one by one."""

    console: Console
    ask: Callable[[str], str | None]  # None: nobody answers any more
    streams: bool = False
    words: Words | None = None  # of the answer that is being heard
    sign: Status | None = None  # that a model thinks

    def say(self, *lines: str) -> None:
        """Lines of plain text, broken between words on a terminal; none can pass for two."""
        self.pause_words()
        for line in lines:
            say(self.console, printable(line.expandtabs()))

    def asked(self, question: str) -> str | None:
        """The line that answers a question; None when nobody answers any more."""
        self.pause_words()
        return self.ask(question)

    def hear(self, text: str) -> None:
        """A piece of an answer, where words are heard one by one."""
        if self.words is not None and text:
            self._end_sign()
            self.words.add(text)

    def pause_words(self) -> None:
        """Something else is printed next."""
        self._end_sign()
        if self.words is not None:
            self.words.end()

    @contextmanager
    def answering(self, name: str) -> Iterator[None]:
        """A model is asked and its words are heard until the block ends; until the first there is a sign of it."""
        self.words = Words(self.console) if self.streams else None
        waits = f"{printable(name)} is asked …"
        if self.streams and self.console.is_terminal:
            self.sign = self.console.status(Text(waits))
            self.sign.start()
        elif self.console.is_terminal or is_plain(self.console):
            say(self.console, waits)
        try:
            yield
        finally:
            self.pause_words()
            self.words = None

    def _end_sign(self) -> None:
        if self.sign is not None:
            self.sign.stop()
            self.sign = None
