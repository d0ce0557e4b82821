"""A console whose lines go to a page: what a chat prints as a table or a curve."""

import io
from collections.abc import Callable

from agent.report.console import People

WIDTH = 96  # characters of a line


class Sheet(io.StringIO):
    """A stream that hands on what is written."""

    def __init__(self, put: Callable[[str], None]) -> None:
        super().__init__()
        self._put = put

    def write(self, text: str) -> int:
        """Hand it on."""
        self._put(text)
        return len(text)


def paper(put: Callable[[str], None]) -> People:
    """A console without colours that hands on what is printed."""
    return People(file=Sheet(put), width=WIDTH, color_system=None)
