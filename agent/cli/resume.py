"""``diffnas-agent resume``: go on with an interrupted search, of whatever kind."""

from typing import Any

import typer

from agent.cli.options import Db, Json, Name, changing, memory_path
from agent.config.settings import HOW_JOBS_RUN


@changing(
    "backend", "rounds", "searcher", "prune", *HOW_JOBS_RUN,
    llm="go on with another backend", base_url="go on with another server", rounds="a new number of rounds",
    searcher="the searcher of your own that it began with, typed again",
)  # fmt: skip
def resume(changes: dict[str, Any], name: Name = None, db: Db = None, as_json: Json = False) -> None:
    """Go on with an interrupted search, exactly once."""
    from agent.search.begin import go_on

    raise typer.Exit(go_on(memory_path(db), name, changes, as_json=as_json))
