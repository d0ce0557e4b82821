"""Lines that a person types while a search runs in this very terminal, and where each of them goes.

On a terminal they are typed at a prompt that stays at the bottom, above the bar, while lines about the search go above
it. Where standard input is no terminal its lines are answers alone, and only read when there will be questions. What a
line means is the caller's to say; a question that is open takes the next line that is no slash command.
"""

import asyncio
import codecs
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from queue import Empty, Queue
from threading import Event, RLock, Thread
from typing import Any, TextIO

from rich.console import Console

from agent.chat.window.terminal import PROMPT, PromptMaker
from agent.report.progress import Lines
from agent.report.tables import say

TICK_SECONDS = 0.2
REFRESH_SECONDS = 0.5  # of the bar
START_SECONDS = 5.0
CHUNK = 4096  # bytes

_before: list[tuple[int, list[Any]]] = []  # terminals whose mode is changed, as they were


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

    def take(self, line: str) -> bool:
        """Take one line in; whether it is an answer."""
        with self.lock:
            if self.handle is None:
                self.early.put(line)
                return True
            if self.questions and not line.startswith("/"):
                self.questions.pop().put(line)  # it is answered: the next line is not its, however soon it comes
                return True
            if line.strip():
                self.todo.put(line)
            return False

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
            with self.lock, suppress(ValueError):
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
def reading(inbox: Inbox, lines: Lines, make_prompt: PromptMaker) -> Iterator[None]:
    """Read typed lines in the background until the block ends."""
    console = lines.console
    has_prompt = sys.stdin.isatty() and console.is_terminal and not console.is_dumb_terminal
    if inbox.handle is not None:
        Thread(target=inbox.work, daemon=True).start()
    with prompting(inbox, lines, make_prompt) if has_prompt else _piped(inbox):
        try:
            yield
        finally:
            inbox.ended.set()


@contextmanager
def _piped(inbox: Inbox) -> Iterator[None]:
    done = Event()
    Thread(target=_read_lines, args=(inbox, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _read_lines(inbox: Inbox, done: Event) -> None:
    """Read without the buffer of `sys.stdin`, whose lock a blocked reader would still hold when the program ends."""
    descriptor, decoder, rest = sys.stdin.fileno(), codecs.getincrementaldecoder("utf-8")("replace"), ""
    while not done.is_set():
        if in_background(descriptor):
            done.wait(TICK_SECONDS)
            continue
        if not select.select([descriptor], [], [], TICK_SECONDS)[0]:
            continue
        data = os.read(descriptor, CHUNK)
        *lines, rest = (rest + decoder.decode(data, final=not data)).split("\n")
        for line in [*lines, *([rest] if rest and not data else [])]:
            inbox.take(line)
        if not data:
            inbox.ended.set()
            return


@contextmanager
def prompting(inbox: Inbox, lines: Lines, make_prompt: PromptMaker) -> Iterator[None]:
    """Keep a prompt at the bottom of the terminal until the block ends; the bar of the search stands below it."""
    from prompt_toolkit.application import get_app_session
    from prompt_toolkit.formatted_text import ANSI
    from prompt_toolkit.patch_stdout import patch_stdout
    from prompt_toolkit.styles import Style

    with redirect_stdout(lines.console.file):  # under --json that is standard error
        output = get_app_session().output  # made of standard output when it is first asked for, then kept
    with _loop() as loop, patch_stdout(raw=True):
        enter = _Enter(inbox, lines.console)
        session = make_prompt(
            wanted=lambda line: not enter.answered,  # it is asked after Enter
            key_bindings=_keys(),
            bottom_toolbar=lambda: ANSI(lines.bars_as_text()),
            style=Style.from_dict({"bottom-toolbar": "noreverse"}),
            refresh_interval=REFRESH_SECONDS,
            erase_when_done=True,
            output=output,
        )
        session.default_buffer.accept_handler = enter
        lines.draws_bars = False
        _keep_mode(sys.stdin)
        reader = asyncio.run_coroutine_threadsafe(_prompt(session, inbox, stands := Event()), loop)
        if not in_background(session.input.fileno()):
            stands.wait(START_SECONDS)  # what is printed while it is drawn for the first time would shift it
        try:
            yield
        finally:
            if not reader.cancel():
                reader.result()  # it ended before the search: a bug of ours is not swallowed
            asyncio.run_coroutine_threadsafe(_others_end(), loop).result()
            _before.clear()
            lines.draws_bars = True


@dataclass
class _Enter:
    """What Enter does: the line goes above and into the inbox, and the prompt stays."""

    inbox: Inbox
    console: Console
    answered: bool = False  # whether the last line was an answer, which the history is not to hold

    def __call__(self, buffer: Any) -> bool:
        for line in buffer.text.splitlines():
            say(self.console, f"{PROMPT}{line}", whole=True)
            self.answered = self.inbox.take(line)
        return False  # the next line begins empty


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop in a thread of its own, which outlives what still has to be printed above the prompt."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_others_end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _others_end() -> None:
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)


async def _prompt(session: Any, inbox: Inbox, stands: Event) -> None:
    """Keep the prompt up, but for the time in which this process is in the background of its terminal."""
    try:
        while True:
            while in_background(session.input.fileno()):
                await asyncio.sleep(TICK_SECONDS)
            try:
                await session.prompt_async(PROMPT, pre_run=stands.set)
            except Suspended:
                os.kill(0, signal.SIGTSTP)  # the whole group, as the terminal does
            except EOFError:
                return  # the terminal is gone
    finally:
        inbox.ended.set()


class Suspended(Exception):  # not an error: the person's wish
    """Ctrl-Z."""


def _keys() -> Any:
    """What the keys of signals do at the prompt, which gets them as keys: the same as without it."""
    from prompt_toolkit.application import get_app
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("c-c")
    def interrupt(event: Any) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    @keys.add("c-z")
    def suspend(event: Any) -> None:
        event.app.exit(exception=Suspended())

    @keys.add("c-d", filter=Condition(lambda: not get_app().current_buffer.text))
    def stay(event: Any) -> None:
        """The prompt ends with the search, not before."""

    return keys


def in_background(descriptor: int) -> bool:
    """Whether this is a terminal that others use now: reading it, or changing its mode, would stop the search."""
    try:
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) != os.getpgrp()
    except OSError:  # it is not the one that controls this process
        return True


def _keep_mode(terminal: TextIO) -> None:
    if terminal.isatty():
        import termios

        _before.append((terminal.fileno(), termios.tcgetattr(terminal)))


def restore_terminal() -> None:
    """Take the prompt away and leave the terminal as it was found, for a process that ends in the next instant."""
    while _before:
        import termios

        descriptor, mode = _before.pop()
        if not in_background(descriptor):
            with suppress(termios.error, OSError):
                os.write(descriptor, b"\r\x1b[J")
                termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)
