"""``diffnas-agent chat``: talk to a search, running or not."""

from typing import TYPE_CHECKING, Annotated

from agent.cli.options import Db, Name, memory_path, option

if TYPE_CHECKING:
    pass


def chat(
    name: Name = None,
    llm: Annotated[str | None, option("ID", "Who answers here; default: llm_chat of the search, or its --llm.")] = None,
    base_url: Annotated[str | None, option("URL", "The server of that model.")] = None,
    begin: Annotated[
        str | None, option('"OPTIONS"', "First begin a search with these options of `run`, in a process of its own.")
    ] = None,
    db: Db = None,
) -> None:
    """Talk to a search, running or not: ask why, give directives, pause it, stop it."""
    from agent.chat.begin import talk

    talk(memory_path(db), name, llm, base_url, begin=begin)
