"""``diffnas-agent status`` and ``list``: how far searches are and what they cost."""

from typing import Annotated

import typer

from agent.cli.options import Db, Json, Name, memory_path, show


def status(
    name: Name = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it anew until the search has ended; Ctrl-C leaves.")
    ] = False,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """What runs, how far it is, what it cost."""
    from agent.report.status import print_status, search_status
    from memory.connection import opened

    path = memory_path(db)
    if watch:
        from agent.report.console import people
        from agent.report.watch import watch as watched

        raise typer.Exit(watched(people(), path, name, as_json=as_json))
    with opened(path, read_only=True) as memory:
        found = search_status(memory, name)
    show(found, as_json, lambda console, status: print_status(console, status, path))


def list_command(db: Db = None, as_json: Json = False) -> None:
    """All searches, the latest first."""
    from agent.report.status import all_searches, print_searches
    from memory.connection import opened

    with opened(memory_path(db), read_only=True) as memory:
        found = all_searches(memory)
    show(found, as_json, print_searches)
