"""``diffnas-agent report``: a search as one HTML file."""

from pathlib import Path
from typing import Annotated

from agent.cli.options import Db, Json, Name, option, option_of, path_option, show


def report(
    name: Name = None,
    to: Annotated[Path | None, path_option("FILE", "The HTML file (default: reports/NAME.html in --out).")] = None,
    compare: Annotated[str | None, option("NAME", "A comparison, or another search, to put beside it.")] = None,
    db: Db = None,
    out: Annotated[Path | None, option_of("out")] = None,
    as_json: Json = False,
) -> None:
    """Write a search as one HTML file that opens anywhere, without a network; its path is printed."""
    from agent.config.sources import resolve
    from agent.page.report import print_report, write_report

    places = resolve({"db": db, "out": out}).config.places
    show(write_report(places.db, places.out, name, to, compare), as_json, print_report)
