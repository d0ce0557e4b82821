"""Events on their way out: JSON lines, and reports that are heard by several."""

import sys
from collections.abc import Callable
from threading import Lock
from typing import Any, TextIO

from agent.report.console import ReaderLeft, put_json
from memory.connection import utc_now

Report = Callable[..., None]


class JsonLines:
    """One JSON object a line on standard output; `gone` is called when whoever read it has gone."""

    def __init__(self, search: int, stream: TextIO | None = None, gone: Callable[[], None] = lambda: None) -> None:
        # On a terminal whatever `sys.stdout` is by then, since a prompt may stand there; else the file or pipe of now.
        self.stream = stream or (None if sys.stdout.isatty() else sys.stdout)
        self.search, self.gone, self.lock = search, gone, Lock()

    def __call__(self, event: str, **values: Any) -> None:
        """Write one event."""
        line = {"event": event, "time": utc_now(), "search": self.search, **values}
        try:
            with self.lock:
                put_json(line, self.stream)
        except ReaderLeft:
            self.gone()


def both(*reports: Report) -> Report:
    """One report that tells several."""

    def report(event: str, **values: Any) -> None:
        for each in reports:
            each(event, **values)

    return report
