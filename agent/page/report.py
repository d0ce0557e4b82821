"""``diffnas-agent report``: writes the page of a search as one file."""

from pathlib import Path

from rich.console import Console

from agent.page.data import PageData
from agent.page.gather import page_data
from agent.page.html import html_of
from agent.report.results import Result
from agent.report.tables import say
from diffusion.errors import UserError
from diffusion.files.writing import whole
from memory.connection import opened
from memory.searches import find_protocol

FOLDER = "reports"  # below the run folder


class WrittenReport(Result):
    """``report --json``."""

    search: int
    """id of the search"""
    name: str
    """its name"""
    path: str
    """of the HTML file"""
    bytes: int
    """its size"""
    data: PageData
    """everything that it shows"""


def write_report(db_path: Path, out: Path, name: str | None, to: Path | None, compare: str | None) -> WrittenReport:
    """Write the page of a search.

    Args:
        db_path: the memory.
        out: the run folder, below which it is written where no file is named.
        name: of the search; the latest if none.
        to: the file.
        compare: a comparison or another search to be put beside it.

    Raises:
        UserError: one sentence with the remedy.
    """
    with opened(db_path, read_only=True) as db:
        page = page_data(db, name, compare)
        text = html_of(page, find_protocol(db, page.about.protocol))
    path = to or out / FOLDER / f"{page.about.name}.html"
    _write(path, text, is_typed=to is not None)
    about = page.about
    return WrittenReport(search=about.search, name=about.name, path=str(path), bytes=len(text.encode()), data=page)


def _write(path: Path, text: str, *, is_typed: bool) -> None:
    if path.is_dir():
        raise UserError(f"--to '{path}' is a folder; name a file, such as '{path / 'report.html'}'")
    if is_typed and not path.absolute().parent.is_dir():
        raise UserError(f"--to '{path}' cannot be made: its folder does not exist; make it or name another file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"'{path}' cannot be written: {error.strerror}; name another file with --to") from None


def print_report(console: Console, found: WrittenReport) -> None:
    """Where it is."""
    say(console, found.path, whole=True)
