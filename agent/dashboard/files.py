"""The files that the page is made of, by name: the dashboard's own, and those that it shares with the report."""

from functools import cache
from pathlib import Path

from agent.page.assets import CHARTS, LIBRARIES, STYLE, asset
from agent.page.assets import PAGE as TABLES

FOLDER = Path(__file__).parent / "assets"

PAGE = "dashboard.html"
OWN = (PAGE, "dashboard.css", "dashboard.js", "chat.js", "searches.js")
SHARED = (*LIBRARIES, CHARTS, TABLES, STYLE)
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


@cache
def content_of(name: str) -> str:
    """The text of a file.

    Raises:
        FileNotFoundError: it is none of the page's.
    """
    if name in SHARED:
        return asset(name)
    if name not in OWN:
        raise FileNotFoundError(name)
    return (FOLDER / name).read_text(encoding="utf-8")


def type_of(name: str) -> str:
    """What a browser is told that it is."""
    return TYPES[name.rpartition(".")[2]]
