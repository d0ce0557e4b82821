"""``diffnas-agent fork``: a copy of a search that goes on with another model."""

from typing import Annotated

import typer

from agent.cli.options import Db, Json, Name, memory_path, number_option, show


def fork(
    at: Annotated[int, number_option("ROUND", "The last round that both share.", least=0)],
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
    from agent.config.sources import load_provider_keys
    from agent.replay.fork import fork as forked
    from agent.replay.fork import print_fork

    load_provider_keys()
    found = forked(memory_path(db), name, at, llm=llm, base_url=base_url, new_name=new_name)
    show(found, as_json, print_fork)
