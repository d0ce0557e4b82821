"""What ``diffnas-agent chat`` does: find the search, or begin one, and talk about it on a terminal."""

import shlex
from pathlib import Path

from rich.console import Console

from agent.chat.spawn import start
from agent.chat.window.terminal import converse, history_beside, input_of
from agent.chat.window.voice import Voice
from agent.chat.wiring import chat_about, talk_about
from agent.config.sources import load_provider_keys
from agent.report.console import people
from agent.report.tables import say
from diffusion.errors import UserError, command
from memory.connection import check_existing_memory


def talk(db: Path, name: str | None, llm: str | None, base_url: str | None, *, begin: str | None) -> None:
    """Talk about a search until the person leaves; with the options to `begin` one, about that.

    Raises:
        UserError: one sentence with the remedy.
    """
    load_provider_keys()
    if begin is None:
        check_existing_memory(db)  # an older one is brought up to date: a chat writes
    console = people()
    about = talk_about(db, name if begin is None else _begun(console, db, name, begin))
    lines = input_of(console, history_beside(db))
    voice = Voice(console, lines.answer, streams=not console.is_plain)
    found = chat_about(about, voice, llm, base_url)
    lines.complete, lines.standing = found.completions, found.standing
    converse(found, lines)


def _begun(console: Console, db: Path, name: str | None, options: str) -> str:
    """The name of a search that was begun just now.

    Raises:
        UserError: `run` refuses the options, or has ended at once.
    """
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
        raise UserError(f"'{options}' began no search; try it without the chat: {command('run', *words, db=db)}")
    return started.search
