"""The loss curve of a training on its way into the memory, some points at a time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from memory.trainings import add_to_curve
from tools.context import SearchContext
from tools.executors.base import OnProgress

SECONDS_BETWEEN_WRITES = 2.0  # each waits for the disk


@contextmanager
def keeping_curve(context: SearchContext, training: int, tell: OnProgress) -> Iterator[OnProgress]:
    """What hears a training: points of its curve are kept, at the latest when the block ends; `tell` hears the rest.

    A search that is killed loses those of the last seconds, and hears them again when the training goes on.
    """
    waiting: list[tuple[int, float]] = []
    written = time.monotonic()

    def hear(event: dict[str, Any]) -> None:
        nonlocal written
        if event.get("event") != "curve":
            tell(event)
            return
        waiting.extend((step, loss) for step, loss in event["points"])
        if time.monotonic() - written > SECONDS_BETWEEN_WRITES:
            write()
            written = time.monotonic()

    def write() -> None:
        if waiting:
            add_to_curve(context.db, training, waiting)
            waiting.clear()

    try:
        yield hear
    finally:
        write()
