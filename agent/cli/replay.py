"""``diffnas-agent replay``: a recorded search made again offline."""

import typer

from agent.cli.options import Db, Json, Name, memory_path, show

DIFFERS = 1


def replay(name: Name = None, db: Db = None, as_json: Json = False) -> None:
    """Make every prompt of a search again and ask every gate again, offline, and say what differs from the record."""
    from agent.replay.replay import print_replay
    from agent.replay.replay import replay as replayed

    found = replayed(memory_path(db), name)
    show(found, as_json, print_replay)
    if found.differences:
        raise typer.Exit(DIFFERS)
