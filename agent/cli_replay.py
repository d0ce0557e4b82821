"""``replay`` and ``fork``: a recorded search made again offline, and a copy of it that goes on with another model."""

from typing import Annotated

import typer

from agent.options import Db, Json, Name, memory_path, show

DIFFERS = 1


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    for command in (replay, fork):
        app.command()(command)


def replay(name: Name = None, db: Db = None, as_json: Json = False) -> None:
    """Make every prompt of a search again and ask every gate again, offline, and say what differs from the record."""
    from agent.replay import print_replay
    from agent.replay import replay as replayed

    found = replayed(memory_path(db), name)
    show(found, as_json, print_replay)
    if found["differences"]:
        raise typer.Exit(DIFFERS)


def fork(
    at: Annotated[int, typer.Option(min=0, metavar="ROUND", help="The last round that both share.")],
    llm: Annotated[str, typer.Option(metavar="ID", help="Backend that goes on from there.")],
    name: Name = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server of that model.")
    ] = None,
    new_name: Annotated[str | None, typer.Option("--name", metavar="NEW", help="Name of the copy.")] = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Copy a search up to a round; `resume` goes on with the copy and another language model."""
    from agent.config import load_provider_keys
    from agent.forking import fork as forked
    from agent.forking import print_fork

    load_provider_keys()
    found = forked(memory_path(db), name, at, llm=llm, base_url=base_url, new_name=new_name)
    show(found, as_json, print_fork)
