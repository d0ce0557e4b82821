"""Lines that a person types while a search runs in this very terminal, beside its bar and its lines.

From the first key of a line until its Enter the bar steps aside and what is typed stands at the bottom; lines about the
search go above it. Where standard input is no terminal its lines are answers alone, and only read when there will be
questions. What a line means is the caller's to say; a question that is open takes the next line that is no slash
command.
"""

import codecs
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, Queue
from threading import Event, RLock, Thread
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from agent.report.progress import Lines

ENTER, TAB, ERASE, KILL_LINE, END = "\r\n", "\t", "\x7f\x08", "\x15", "\x04"
PROMPT = "> "
PROGRESS = ("train.progress", "score.progress")  # events that only move the bar
TICK_SECONDS = 0.2
CHUNK = 4096  # bytes

Complete = Callable[[str], list[str]]
Mode = list[Any]  # what `termios.tcgetattr` gives

_before: list[tuple[int, Mode]] = []  # terminals whose mode was changed, as they were


@dataclass
class TypedLine:
    """What stands typed at the bottom of the terminal, and the lines about the search above it."""

    lines: Lines
    complete: Complete = field(default=lambda line: [])
    text: str = ""
    lock: RLock = field(default_factory=RLock)

    @property
    def console(self) -> Console:
        """The terminal that is shared."""
        return self.lines.console

    def __call__(self, event: str, **values: Any) -> None:
        """Say one event; while a line is being typed the bar stays away."""
        with self.lock:
            if not self.text:
                self.lines(event, **values)
            elif event not in PROGRESS:
                with self.printing():
                    self.lines(event, **values)

    @contextmanager
    def printing(self) -> Iterator[None]:
        """Print above what is typed."""
        with self.lock:
            self._erase()
            try:
                yield
            finally:
                self._draw()

    def say(self, text: str) -> None:
        """A line that is no event."""
        with self.printing():
            self.console.print(text, markup=False, highlight=False)

    def key(self, character: str) -> str | None:
        """Take one key; the line, once it is complete."""
        with self.lock:
            if not self.text:
                self.lines.close()  # the bar is back with the next progress after Enter
            self._erase()
            line = self._changed(character)
            self._draw()
            return line

    def _changed(self, character: str) -> str | None:
        if character in ENTER:
            line, self.text = self.text, ""
            if line.strip():
                self.console.print(f"{PROMPT}{line}", markup=False, highlight=False, soft_wrap=True)
            return line
        if character in ERASE:
            self.text = self.text[:-1]
        elif character == KILL_LINE:
            self.text = ""
        elif character == TAB:
            self._completed()
        elif character.isprintable():
            self.text += character
        return None

    def _completed(self) -> None:
        found = self.complete(self.text)
        before, space, last = self.text.rpartition(" ")
        common = common_start(found)
        if len(common) > len(last):
            self.text = f"{before}{space}{common}"
        elif len(found) > 1:
            self.console.print("  ".join(found), markup=False, highlight=False)

    def _erase(self) -> None:
        if self.text:
            self._write("\r\x1b[K")

    def _draw(self) -> None:
        if self.text:
            self._write(PROMPT + tail(self.text, self.console.width - len(PROMPT) - 1))

    def _write(self, text: str) -> None:
        self.console.file.write(text)
        self.console.file.flush()


def common_start(words: list[str]) -> str:
    """What all of some words begin with."""
    first, last = min(words, default=""), max(words, default="")
    return first[: next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))]


def tail(text: str, columns: int) -> str:
    """The end of a text that fits into so many columns."""
    while cell_len(text) > columns:
        text = text[1:]
    return text


class Keys:
    """Bytes of a terminal as keys: whole characters, and no escape sequences."""

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.in_escape = ""

    def of(self, data: bytes) -> Iterator[str]:
        """The keys that some bytes complete."""
        for character in self.decoder.decode(data):
            if self.in_escape:
                self.in_escape += character
                begins = len(self.in_escape) == 2 and character in "[O"
                if not begins and ("@" <= character <= "~"):
                    self.in_escape = ""
            elif character == "\x1b":
                self.in_escape = character
            else:
                yield character


@dataclass
class Inbox:
    """Where typed lines go: to the question that was asked last, or else to `handle`, in their order."""

    say: Callable[[str], None]
    stop: Event
    handle: Callable[[str], None] | None = None
    ended: Event = field(default_factory=Event)
    questions: list[Queue[str]] = field(default_factory=list)
    early: Queue[str] = field(default_factory=Queue)  # answers that came before their question, from a script
    todo: Queue[str] = field(default_factory=Queue)
    lock: RLock = field(default_factory=RLock)

    def take(self, line: str) -> None:
        """Take one line in."""
        with self.lock:
            if self.questions and not line.startswith("/"):
                self.questions[-1].put(line)
            elif self.handle is None:
                self.early.put(line)
            elif line.strip():
                self.todo.put(line)

    def ask(self, question: str) -> str | None:
        """The line that answers a question; None when the search is being stopped or no line will come."""
        answers = self._opened()
        try:
            self.say(question)
            while not self.stop.is_set():
                ended = self.ended.is_set()  # looked at first: a last line may have come just before the end
                with suppress(Empty):
                    return answers.get(timeout=0 if ended else TICK_SECONDS)
                if ended:
                    self.say("Nobody answers: standard input has ended.")
                    return None
            return None
        finally:
            with self.lock:
                self.questions.remove(answers)

    def _opened(self) -> Queue[str]:
        answers: Queue[str] = Queue()
        with self.lock:
            if self.handle is None:
                answers = self.early
            self.questions.append(answers)
        return answers

    def work(self) -> None:
        """Handle lines until the reader ends; a thread of its own, so that a question may wait for its answer."""
        while not (self.ended.is_set() and self.todo.empty()):
            with suppress(Empty):
                line = self.todo.get(timeout=TICK_SECONDS)
                if self.handle is not None:
                    self.handle(line)


@contextmanager
def reading(inbox: Inbox, typed: TypedLine, done: Event) -> Iterator[None]:
    """Read typed lines in the background until the block ends."""
    is_terminal = sys.stdin.isatty()
    read = _read_keys if is_terminal and not typed.console.is_dumb_terminal else _read_lines
    threads = [Thread(target=_until_ended, args=(read, inbox, typed, done), daemon=True)]
    if inbox.handle is not None:
        threads.append(Thread(target=inbox.work, daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        inbox.ended.set()
        restore_terminal()


def _until_ended(read: Callable[[Inbox, TypedLine, Event], None], inbox: Inbox, typed: TypedLine, done: Event) -> None:
    try:
        read(inbox, typed, done)
    finally:
        inbox.ended.set()


def _read_lines(inbox: Inbox, typed: TypedLine, done: Event) -> None:
    """Read without the buffer of `sys.stdin`, whose lock a blocked reader would still hold when the program ends."""
    descriptor, decoder, rest = sys.stdin.fileno(), codecs.getincrementaldecoder("utf-8")("replace"), ""
    while not done.is_set():
        if not _is_readable(descriptor, done):
            continue
        data = os.read(descriptor, CHUNK)
        *lines, rest = (rest + decoder.decode(data, final=not data)).split("\n")
        for line in [*lines, *([rest] if rest and not data else [])]:
            inbox.take(line)
        if not data:
            return


def _read_keys(inbox: Inbox, typed: TypedLine, done: Event) -> None:
    descriptor, keys = sys.stdin.fileno(), Keys()
    while not done.is_set():
        if _is_ours(descriptor):
            _one_key_at_a_time(descriptor)
        if not _is_readable(descriptor, done):
            continue
        data = os.read(descriptor, CHUNK)
        if not data:
            return
        for key in keys.of(data):
            line = None if key == END else typed.key(key)
            if line is not None:
                inbox.take(line)


def _is_readable(descriptor: int, done: Event) -> bool:
    """Whether something was typed; a terminal is left alone in the background, where a read would stop the search."""
    if os.isatty(descriptor) and not _is_ours(descriptor):
        done.wait(TICK_SECONDS)
        return False
    return bool(select.select([descriptor], [], [], TICK_SECONDS)[0])


def _is_ours(descriptor: int) -> bool:
    """Whether this process is in the foreground of its terminal."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


def _one_key_at_a_time(descriptor: int) -> None:
    """Have keys come at once and without echo; Ctrl-C stays a signal. A shell may have put the mode back."""
    import termios

    mode = termios.tcgetattr(descriptor)
    if not mode[3] & (termios.ECHO | termios.ICANON):
        return
    if not _before:
        _before.append((descriptor, [part[:] if isinstance(part, list) else part for part in mode]))
    mode[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)


def restore_terminal() -> None:
    """Leave the terminal as it was found."""
    while _before:
        import termios

        descriptor, mode = _before.pop()
        if _is_ours(descriptor):
            with suppress(termios.error):
                termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)
