"""The files beside this one that a page is made of: the vendored libraries, our own drawing functions, the styles.

`vendored.json` names each library with its version, licence and SHA-256; a test compares. A page may hold them
(`agent.page.html`) or a server may hand them out by name.
"""

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "assets"

LIBRARIES = ("d3.min.js", "plot.min.js")
"""In the order in which they are to be loaded, before our own."""
CHARTS, PAGE, REPORT, STYLE = "charts.js", "page.js", "report.js", "page.css"


@cache
def asset(name: str) -> str:
    """The text of an asset.

    Raises:
        FileNotFoundError: there is none of that name.
    """
    if Path(name).name != name:
        raise FileNotFoundError(name)
    return (FOLDER / name).read_text(encoding="utf-8")
