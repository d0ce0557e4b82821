"""The one gate where text goes out to people: every console, and every line on a standard stream, is made here.

What a model, a server, a data set, a file or a memory says may hold escapes that colour a line, move the cursor, copy
to the clipboard or turn the direction of reading. Here they are spelled out. What we mark up ourselves is printed with
``markup=True``, and foreign text within it goes through `foreign`. Emoji codes are no markup of ours: they stay.
"""

import io
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from diffusion.units import printable, visible
from memory.file.waiting import tell_of_waiting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.progress import Progress


_silenced: set[int] = set()  # descriptors of this process whose reader has gone
_plain = [False]  # whether everything is said in plain lines: of this process
DUMB = ("dumb", "unknown")  # terminals that draw nothing anew, by TERM


class ReaderLeft(Exception):  # not an error: a reader such as `head` has what it wanted
    """Nobody reads what is written; no BrokenPipeError, which the option parser makes exit code 1 of."""


def _nobody_reads() -> None:
    raise ReaderLeft


class People(Console):
    """A console whose words move, colour and hide nothing; `gone` is called when whoever read it has gone."""

    gone: Callable[[], None] = staticmethod(_nobody_reads)
    is_plain = False  # whoever reads it wants plain lines: no colour, no bars, nothing drawn anew, no columns

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Text of ours or of others, before it is broken into lines."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> "Iterable[Segment]":
        """What any renderable comes to; what rich itself does to the terminal, such as drawing a bar anew, stays."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)

    @property
    def deserted(self) -> bool:
        """Whether whoever read its stream has gone."""
        return _descriptor(self.file) in _silenced

    def on_broken_pipe(self) -> None:
        """Nothing more is written there; by default the command ends."""
        self.quiet = True
        silence(self.file)
        self.gone()


def be_plain(wanted: bool) -> None:
    """Say everything in plain lines from now on, or no longer."""
    _plain[0] = wanted


def people(*, stderr: bool = False, quiet: bool = False) -> People:
    """A console: on standard output, or on standard error."""
    is_plain = _plain[0] or (os.environ.get("TERM") in DUMB and (sys.stderr if stderr else sys.stdout).isatty())
    drawn = False if is_plain else None  # None: where it is a terminal
    found = People(stderr=stderr, quiet=quiet, force_terminal=drawn)
    found.is_plain = is_plain
    return found


def is_plain(console: Console) -> bool:
    """Whether a console is one of plain lines."""
    return isinstance(console, People) and console.is_plain


def foreign(text: object) -> str:
    """Foreign text on one line, for a line with markup of ours."""
    return escape(printable(str(text)))


def bars(console: Console, above: Callable[[], str] = str) -> "Progress":
    """Bars that go when they are over; descriptions, and the line `above` them if there is one, are plain text."""
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

    class Description(TextColumn):
        """What a bar is about, as plain text."""

        def render(self, task: Any) -> Text:
            return Text(printable(task.description))

    class Counts(ProgressColumn):
        """How many of how many, where that is known."""

        def render(self, task: Any) -> Text:
            return Text("" if task.total is None else f"{task.completed}/{task.total}")

    class Bars(Progress):
        """Bars with a line above them, which stays where what it says would scroll away."""

        def get_renderables(self) -> "Iterable[RenderableType]":
            if line := above():
                yield Text(printable(line), "dim")
            yield from super().get_renderables()

    columns = (Description(""), BarColumn(), Counts(), TimeRemainingColumn())
    return Bars(*columns, console=console, transient=True)


def put_json(found: Any, stream: TextIO | None = None) -> None:
    """One value a line for scripts, in ASCII; by default on standard output.

    Raises:
        ReaderLeft: nobody reads it.
    """
    try:
        print(json.dumps(found, allow_nan=False), file=stream, flush=True)
    except BrokenPipeError:
        silence(stream or sys.stdout)
        raise ReaderLeft from None


def last_words(text: str) -> None:
    """A line on standard error in the instant before the process ends: past consoles and prompts, whose locks may be
    held.
    """
    with suppress(OSError):
        print(visible(text), file=sys.__stderr__, flush=True)


def silence(stream: Any) -> None:
    """Whoever read a stream has gone: what is still written there goes nowhere, and the end of the program is quiet."""
    if (descriptor := _descriptor(stream)) is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        _silenced.add(descriptor)


def _descriptor(stream: Any) -> int | None:
    with suppress(OSError, ValueError, AttributeError):  # a stream of a test has no file
        return int(stream.fileno())
    return None


def prepare_streams() -> None:
    """Make the standard streams of this process such that no word ends it, whatever they are.

    A stream that was closed reads as ended and swallows what is written. A character that an encoding lacks is
    replaced. A traceback, too, spells out what acts on a terminal.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # the lowest free descriptor is its own
        if getattr(sys, name) is None:
            opened = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, opened)
            setattr(sys, f"__{name}__", opened)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    tell_of_waiting(last_words)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = lambda kind, error, trace: last_words("".join(traceback.format_exception(error)).rstrip())
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _say_thread


def _say_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        name = ended.thread.name if ended.thread else "?"
        last_words(f"Exception in thread {name}:\n{''.join(traceback.format_exception(ended.exc_value)).rstrip()}")
