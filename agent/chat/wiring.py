"""What a conversation about a stored search needs: its settings as a context for the read tools, and who answers.

No process is started here, and the search is not touched; it may run, be interrupted, or be over.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.chat.commands import carry_out
from agent.chat.conversation import Chat
from agent.chat.window.voice import Voice
from agent.config.backend import OFFLINE
from agent.config.kinds import STEERED
from agent.config.settings import RunConfig
from agent.config.stored import reading_context, stored_config
from diffusion.errors import UserError
from memory.connection import opened
from memory.searches import find_protocol, find_search
from tools.context import SearchContext

if TYPE_CHECKING:
    from agent.chat.assistant import Assistant

PROPOSER = "chat"


@dataclass(frozen=True)
class Talk:
    """A search that can be talked about."""

    name: str
    config: RunConfig
    context: SearchContext


def talk_about(db_path: Path, name: str | None) -> Talk:
    """A stored search as the read tools need it.

    Raises:
        UserError: there is no such search, or its settings cannot be read.
    """
    with opened(db_path, read_only=True) as db:
        row = find_search(db, name, STEERED)
        protocol = find_protocol(db, row.protocol)
    config = stored_config(row.config_json, {"db": db_path})
    context = reading_context(db_path, row, config, protocol, round_number=0, proposer=PROPOSER)
    return Talk(row.name, config, context)


def assistant_of(
    config: RunConfig, voice: Voice, llm: str | None = None, base_url: str | None = None
) -> "Callable[[Chat], Assistant | None]":
    """Who answers, made when the first answer is due: the backend that is named here, or that of the settings.

    One of the settings that cannot be used from here is said, and the memory answers; one that is named is an error.

    Raises:
        UserError: the backend that is named cannot be used.
    """
    from agent.backends.registry import Address, check_backend

    if base_url and not llm:
        raise UserError(f"'{base_url}' is a server; name its model, too: --llm openai:NAME")
    first = Address.parse(llm) if llm else None
    if first is not None and base_url:
        first = Address(first.llm, base_url)
    if first is not None:
        check_backend(first.llm, first.base_url)

    def make(chat: Chat) -> "Assistant | None":
        from agent.backends.registry import addresses_of, make_chain

        if all(address.llm == OFFLINE for address in addresses_of(config, "chat", first)):
            return None
        from agent.chat.assistant import Assistant

        try:
            backends = make_chain(config, "chat", first)
        except UserError as error:
            if first is not None:
                raise
            voice.say(f"{error}.", "Until then the memory answers.")
            return None
        return Assistant(backends, chat.context, chat.voice.hear)

    return make


def chat_about(talk: Talk, voice: Voice, llm: str | None, base_url: str | None) -> Chat:
    """A conversation that can begin.

    Raises:
        UserError: the backend that is named cannot be used from here.
    """
    from agent.backends.allowance import allowance_of

    allowance = allowance_of(talk.context.search, without_hours(talk.config), talk.context.services.memory)
    context = replace(talk.context, services=replace(talk.context.services, allowance=allowance))
    return Chat(context, voice, carry_out, assistant_of(talk.config, voice, llm, base_url))


def without_hours(config: RunConfig) -> RunConfig:
    """The settings without the limit in hours, which are those of the search and not of a talk about it."""
    return config.changed(max_hours=None)
