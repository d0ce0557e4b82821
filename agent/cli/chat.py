"""``diffnas-agent chat``: talk to a search, running or not."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from agent.cli.options import Db, Name, memory_path, option
from diffusion.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console


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
    from rich.console import Console

    from agent.chat.terminal import converse, history_beside, input_of
    from agent.chat.voice import Voice
    from agent.chat.wiring import chat_about, talk_about
    from agent.config.sources import load_provider_keys
    from memory.connection import check_existing_memory

    load_provider_keys()
    path = memory_path(db)
    if begin is None:
        check_existing_memory(path)  # an older one is brought up to date: a chat writes
    console = Console(highlight=False)
    talk = talk_about(path, name if begin is None else _begun(console, path, name, begin))
    lines = input_of(console, history_beside(path))
    voice = Voice(console, lines.answer, streams=True)
    found = chat_about(talk, voice, llm, base_url)
    lines.complete = found.completions
    converse(found, lines)


def _begun(console: "Console", db: Path, name: str | None, options: str) -> str:
    """The name of a search that was begun just now.

    Raises:
        UserError: `run` refuses the options, or has ended at once.
    """
    from agent.chat.spawn import start
    from agent.report.tables import say

    if name is not None:
        raise UserError(
            f"'{name}' names a search that is there, and --begin a new one; write --begin \"--name {name} …\""
        )
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise UserError(f"'{options}' cannot be split into options ({error}); look at its quotes") from None
    say(console, "A search begins …")
    started = start(["run", *words], db)
    say(console, started.sentence())
    if started.search is None:
        raise UserError(f"'{options}' began no search; try it without the chat: diffnas-agent run {options}")
    return started.search
