"""Events on their way out: JSON lines, and reports that are heard by several."""

import json
import sys
from collections.abc import Callable
from threading import Lock
from typing import Any, TextIO

from memory.connection import utc_now

Report = Callable[..., None]


class JsonLines:
    """One JSON object a line on standard output."""

    def __init__(self, search: int, stream: TextIO | None = None) -> None:
        # On a terminal whatever `sys.stdout` is by then, since a prompt may stand there; else the file or pipe of now.
        self.stream = stream or (None if sys.stdout.isatty() else sys.stdout)
        self.search, self.lock = search, Lock()

    def __call__(self, event: str, **values: Any) -> None:
        """Write one event."""
        line = json.dumps({"event": event, "time": utc_now(), "search": self.search, **values}, allow_nan=False)
        with self.lock:
            print(line, file=self.stream, flush=True)


def both(*reports: Report) -> Report:
    """One report that tells several."""

    def report(event: str, **values: Any) -> None:
        for each in reports:
            each(event, **values)

    return report
