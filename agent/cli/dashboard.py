"""``diffnas-agent dashboard``: a live page about the searches of a memory."""

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import Db, Name, option, option_of

PORT = 8321
MOST_PORT = 65_535


def dashboard(
    name: Name = None,
    host: Annotated[str, option("ADDRESS", "Where to listen; one that others reach needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=MOST_PORT, metavar="N", help="Port; 0 is any that is free.")] = PORT,
    token: Annotated[str | None, option("TOKEN", "What whoever opens the page must have; auto makes one up.")] = None,
    opens: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
    db: Db = None,
    out: Annotated[Path | None, option_of("out")] = None,
) -> None:
    """Watch searches in a browser, talk to them, begin, pause and stop them."""
    from agent.config.sources import resolve
    from agent.dashboard.serve import serve

    places = resolve({"db": db, "out": out}).config.places
    serve(places.db, places.out, name, host=host, port=port, token=token, opens=opens)
