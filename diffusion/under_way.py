"""How far long work is, told to whoever listens: nobody by default, on the command line a line or a bar for people.

Whoever computes says `under_way` and does not know who listens; nothing here prints. What runs in other threads tells
nobody, as a context variable has it: jobs and searches have events of their own.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Tell = Callable[[int], None]  # how many of all are done


class Listener(Protocol):
    """Who is told."""

    def begin(self, what: str, total: int | None) -> object:
        """Something begins, of so many parts where that is known; gives what the other two are to be told by."""

    def advance(self, step: Any, done: int) -> None:
        """So many of its parts are done."""

    def end(self, step: Any) -> None:
        """It is over."""


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Tell a listener of all that this thread does within the block."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


@contextmanager
def under_way(what: str, total: int | None = None) -> Iterator[Tell]:
    """Something that may take long, in a word or two such as "reading pictures", and of how many parts."""
    if (listener := _listener.get()) is None:
        yield lambda done: None
        return
    step = listener.begin(what, total)
    try:
        yield partial(listener.advance, step)
    finally:
        listener.end(step)


def each(what: str, items: Iterable[Item], total: int | None = None) -> Iterator[Item]:
    """The items, one after the other, while it is told how many are done."""
    with under_way(what, total) as tell:
        for done, item in enumerate(items, 1):
            yield item
            tell(done)


class Pace:
    """How long something will take yet, at the speed since it was first looked at: what was there by then took none."""

    def __init__(self) -> None:
        self.start: tuple[float, int] | None = None  # seconds, parts

    def eta_seconds(self, done: int, total: int, now: float | None = None) -> float | None:
        """Seconds until `total`; None until some of it was done."""
        now = time.monotonic() if now is None else now
        if self.start is None:
            self.start = now, done
        began, before = self.start
        return (now - began) * (total - done) / (done - before) if done > before else None
