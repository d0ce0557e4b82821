"""``diffnas-agent chat``: talk to a search, running or not."""

from typing import Annotated

import typer

from agent.options import Db, Name, memory_path, option


def register(app: typer.Typer) -> None:
    """Add the command of this module to the program."""
    app.command()(chat)


def chat(
    name: Name = None,
    llm: Annotated[str | None, option("ID", "Who answers here; default: llm_chat of the search, or its --llm.")] = None,
    base_url: Annotated[str | None, option("URL", "The server of that model.")] = None,
    db: Db = None,
) -> None:
    """Talk to a search, running or not: ask why, give directives, pause it, stop it."""
    from rich.console import Console

    from agent.chat import Voice
    from agent.chat_open import chat_about, talk_about
    from agent.chat_terminal import converse, history_beside, input_of
    from agent.config import load_provider_keys
    from memory.connection import check_memory

    load_provider_keys()
    path = memory_path(db)
    if path.exists():
        check_memory(path)  # brings an older one up to date: a chat writes
    talk = talk_about(path, name)
    console = Console(highlight=False)
    lines = input_of(console, history_beside(path))
    voice = Voice(console, lines.answer, streams=True)
    found = chat_about(talk, voice, llm, base_url)
    lines.complete = found.completions
    converse(found, lines)
