"""``status --watch``: a search while it runs, drawn anew on a terminal, elsewhere a line whenever something changed.

It only reads, and opens the memory anew for each look, so that nobody who writes or moves the file waits for it. It
ends by itself when no process drives the search any more, and on Ctrl-C, which the search does not notice.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import sleep
from types import FrameType

from rich.align import Align
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.text import Text

from agent.exit_codes import INTERRUPTED
from agent.report.console import People, put_json
from agent.report.curve import drawn
from agent.report.results import plain
from agent.report.status import SearchStatus, at_work, compared, print_status, search_status, standing, used
from agent.report.tables import say
from agent.report.trials import TrialRow, trial_rows
from diffusion.units import printable
from memory.connection import opened
from memory.queries.records import best
from memory.searches import LIVE

POLL_SECONDS = 1.0
WIDEST_BAR = 60  # columns
LEAST_COLUMNS = 40  # for the curve


@dataclass(frozen=True)
class Look:
    """A search at one moment: its status, and its scored trials for the curve."""

    status: SearchStatus
    ranking: list[TrialRow]

    @property
    def is_over(self) -> bool:
        """Whether no process drives it."""
        return self.status.state not in LIVE


def look_at(path: Path, name: str | None) -> Look:
    """The search of a name, or the latest, as the memory has it now.

    Raises:
        UserError: there is no such memory or search.
    """
    with opened(path, read_only=True) as memory:
        status = search_status(memory, name)
        return Look(status, trial_rows(best(memory, status.search, limit=None)))


def watch(console: People, path: Path, name: str | None, *, as_json: bool) -> int:
    """Show a search until it has ended, or a person leaves; the exit code.

    Raises:
        UserError: there is no such memory or search, or it is gone.
    """
    first = look_at(path, name)
    number = str(first.status.search)  # the latest search stays the one that was the latest
    shown = _lines(as_json, console) if as_json or not console.is_terminal else _screen(console)
    try:
        with _ended_tidily(), shown as show:
            look = first
            show(look)
            while not look.is_over:
                sleep(POLL_SECONDS)
                look = look_at(path, number)
                show(look)
    except KeyboardInterrupt:
        if not as_json:
            say(console, f"{first.status.name} is no longer watched; what runs goes on.")
        return INTERRUPTED
    if not as_json:
        print_status(console, look.status, path)
    return 0


@contextmanager
def _lines(as_json: bool, console: People) -> Iterator[Callable[[Look], None]]:
    """A line whenever something changed: the status as JSON, or what of it people follow."""
    before: list[object] = [None]

    def show(look: Look) -> None:
        found = plain(look.status) if as_json else changing(look.status)
        if found == before[0]:
            return
        before[0] = found
        if as_json:
            put_json(found)
        else:
            say(console, f"{datetime.now():%H:%M:%S} {found}")

    yield show


def changing(found: SearchStatus) -> str:
    """What of a search changes and is worth a line."""
    row = found.best
    said = [standing(found), *at_work(found)]
    if row:
        said.append(f"best: trial {row.trial} {row.spec}, {row.metric} {row.rfid:.4g}")
    return "; ".join(said)


@contextmanager
def _screen(console: People) -> Iterator[Callable[[Look], None]]:
    """The whole terminal, which is as it was before when the block ends."""
    from rich.live import Live

    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda look: live.update(_drawn(console, look), refresh=True)


def _drawn(console: People, look: Look) -> RenderableType:
    """What a terminal shows: how far it is, what runs, the best, and the curve where there is room."""
    found = look.status
    rounds = max(found.rounds, 1)
    bar = ProgressBar(rounds, min(found.round, rounds), min(WIDEST_BAR, console.width), complete_style="green")
    above: list[RenderableType] = [Text(printable(standing(found)), "bold"), Align.left(bar)]
    above += [Text(printable(line), "cyan") for line in at_work(found)]
    above += [Text(printable(line)) for line in (*compared(found), *used(found))]
    feet = Text(f"{datetime.now():%H:%M:%S}; Ctrl-C leaves, and the search goes on", "dim")
    curve = drawn(look.ranking, console.width - 1)
    taken = sum(len(console.render_lines(line)) for line in (*above, feet))
    if console.width >= LEAST_COLUMNS and taken + len(curve) + 2 <= console.height:
        return Group(*above, "", *curve, "", feet)
    return Group(*above, feet)


@contextmanager
def _ended_tidily() -> Iterator[None]:
    """A polite request to end, too, leaves the terminal as it was."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
