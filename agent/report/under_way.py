"""What is under way, as people see it: bars on a terminal, lines where there is none, the first within five seconds.

A clock of its own sees to that, so that what tells nothing for long, such as a process that starts, is seen as well.
Lines about the same come at distances that double up to five minutes: some twenty in an hour.
"""

import time
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock, Thread
from typing import TYPE_CHECKING

from rich.console import Console

from agent.report.console import ReaderLeft, bars, foreign, people
from diffusion.under_way import Pace

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SOON_SECONDS = 4.0  # and a tick, at most
SOON_ON_A_TERMINAL = 1.0
LONGEST_SECONDS = 300.0  # between two lines about the same
TICK_SECONDS = 0.5
FOLLOWING_SECONDS = 1.0  # what begins so soon after the end of something prolongs the silence

Key = Hashable
LIBRARY = "what the library has under way"


@dataclass
class Step:
    """Something under way; `total` is None where nobody knows how many parts it has."""

    label: str
    phase: str
    began: float
    due: float  # when it is to be told next
    gap: float = SOON_SECONDS
    done: int = 0
    total: int | None = None
    eta_seconds: float | None = None
    shares: int = 0  # of its quarters or other shares, how many were told
    pace: Pace = field(default_factory=Pace)

    def text(self, now: float) -> str:
        """It in a line: how far it is and when it will be over, or how long it has taken."""
        if self.total is None:
            return f"{self.label}, {duration(now - self.began)} so far"
        left = f", about {duration(self.eta_seconds)} left" if self.eta_seconds else ""
        return f"{self.label}, {self.done}/{self.total}{left}"


@dataclass
class Told:
    """What a library says that it has under way."""

    what: str
    total: int | None
    done: int = 0


class UnderWay:
    """Shows steps on a console; also what a library tells, as its `diffusion.under_way.Listener`."""

    def __init__(self, console: Console) -> None:
        self.console, self.lock = console, Lock()
        self.steps: dict[Key, Step] = {}
        self.progress: Progress | None = None
        self.bars: dict[Key, TaskID] = {}
        self.draws_bars = True  # otherwise somebody else does, below a prompt
        self.told: list[Told] = []  # what a library has under way, the innermost last
        self.before = (0.0, 0.0)  # when the last step ended, and when it would have been told
        self.clock: Thread | None = None

    def begin(self, what: str, total: int | None) -> Told:
        """A library begins something."""
        with self.lock:
            self.told.append(told := Told(what, total))
            self._show_told()
            return told

    def advance(self, told: Told, done: int) -> None:
        """So much of it is done."""
        with self.lock:
            told.done = done
            self._show_told()

    def end(self, told: Told) -> None:
        """It is over, and what is around it goes on."""
        with self.lock:
            self.told = [other for other in self.told if other is not told]
            self._show_told()
            if not self.told:
                self._end(LIBRARY)

    def close(self) -> None:
        """Leave the terminal tidy, whatever came last."""
        with self.lock:
            self._end_all()

    def line(self, text: str) -> None:
        """One line with markup of ours, above the bars."""
        from agent.report.tables import mark

        self.before = (0.0, 0.0)
        mark(self.console, text)

    def standing(self) -> str:
        """What stands above the bars while there are some; nothing."""
        return ""

    def bars_as_text(self) -> str:
        """The bars as the terminal shows them, with its escape sequences; empty where there are none."""
        if (progress := self.progress) is None:
            return ""
        with self.console.capture() as drawn:
            self.console.print(progress.get_renderable())
        return drawn.get().rstrip("\n")

    def _show_told(self) -> None:
        for told in self.told[-1:]:
            self._show(LIBRARY, f"  {told.what}", str(id(told)), told.done, told.total)

    def _show(
        self,
        key: Key,
        label: str,
        phase: str,
        done: int = 0,
        total: int | None = None,
        *,
        eta_seconds: float | None = None,
    ) -> Step:
        """How far a step is; another `phase` under its key is another step."""
        step, now = self.steps.get(key), time.monotonic()
        if step is None or step.phase != phase:
            step = self.steps[key] = Step(label, phase, now, self._first_due(now, step))
        step.label, step.done, step.total = label, done, total
        paced = None if total is None else step.pace.eta_seconds(done, total, now)
        step.eta_seconds = paced if eta_seconds is None else eta_seconds
        if key in self.bars:
            self._draw(key, step)
        if self.clock is None:
            self.clock = Thread(target=self._watch, daemon=True)
            self.clock.start()
        return step

    def _first_due(self, now: float, step: Step | None) -> float:
        """When something new is told: soon, reckoned from where the silence began."""
        ended, due = (now, step.due) if step else self.before
        soon = now + (SOON_ON_A_TERMINAL if self.console.is_terminal else SOON_SECONDS)
        return min(soon, due) if now - ended < FOLLOWING_SECONDS else soon

    def _watch(self) -> None:
        """Tell what is due, until nothing is under way."""
        with suppress(ReaderLeft):  # whoever says something next finds out
            while True:
                time.sleep(TICK_SECONDS)
                with self.lock:
                    if not self.steps:
                        self.clock = None
                        return
                    self.tick(time.monotonic())

    def tick(self, now: float) -> None:
        """Tell what is due at this time."""
        for key, step in self.steps.items():
            if step.due <= now and not self.console.is_terminal:
                self._say(step, now)
            elif step.due <= now:
                self._draw(key, step)

    def _say(self, step: Step, now: float) -> None:
        """A line, and a longer silence after it."""
        self.line(foreign(step.text(now)))
        step.gap = min(2 * step.gap, LONGEST_SECONDS)
        step.due = now + step.gap

    def _draw(self, key: Key, step: Step) -> None:
        if self.progress is None:
            self.progress = bars(self.console, self.standing)
            if self.draws_bars:
                self.progress.start()
        if key not in self.bars:
            self.bars[key] = self.progress.add_task(step.label, total=step.total)
        self.progress.update(self.bars[key], description=step.label, completed=step.done, total=step.total)

    def _end(self, key: Key) -> None:
        """A step is over; with the last bar the whole display goes."""
        if (step := self.steps.pop(key, None)) is not None:
            self.before = (time.monotonic(), step.due)
        if key in self.bars and self.progress is not None:
            self.progress.remove_task(self.bars.pop(key))
        if not self.bars:
            self._end_bars()

    def _end_all(self) -> None:
        self.steps.clear()
        self._end_bars()

    def _end_bars(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
        self.bars.clear()


class WhenNeeded:
    """The steps of a command, on standard error; the console is made when its options have said how it is to be."""

    @cached_property
    def shown(self) -> UnderWay:
        """Where they are shown."""
        return UnderWay(people(stderr=True))

    def begin(self, what: str, total: int | None) -> Told:
        """Something begins."""
        return self.shown.begin(what, total)

    def advance(self, told: Told, done: int) -> None:
        """So much of it is done."""
        self.shown.advance(told, done)

    def end(self, told: Told) -> None:
        """It is over."""
        self.shown.end(told)


def duration(seconds: float) -> str:
    """Seconds as people say them: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
