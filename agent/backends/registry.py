"""Which language model proposes: ``offline``, ``openai:…``, any OpenAI-compatible ``--base-url``, and what LangChain's
`init_chat_model` knows when the provider's package is installed.

A search may have several, in the order in which they are tried; chat may have another. A backend is checked before
anything is spent: its package and its key must be there. Nothing is sent here; `agent.backends.chain` tries one after
the other, `agent.backends.structured` speaks to those without tool calling.
"""

import re
import weakref
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel

import agent.backends.untraced  # noqa: F401  # also where no command is typed
from agent.backends.clients import check_address, making, tidy_key
from agent.backends.offline import OfflineModel
from agent.backends.pricing import price_table
from agent.config.backend import OFFLINE
from agent.config.settings import RunConfig
from diffusion.errors import UserError
from memory.backends import Way, known_backend
from memory.connection import opened

Purpose = Literal["propose", "chat"]


@dataclass(frozen=True)
class Provider:
    """What a provider needs: the importable package, the extra that installs it, the variable that holds its key."""

    package: str
    extra: str | None
    key: str | None


PROVIDERS = {
    "openai": Provider("langchain_openai", None, "OPENAI_API_KEY"),
    "anthropic": Provider("langchain_anthropic", "anthropic", "ANTHROPIC_API_KEY"),
    "ollama": Provider("langchain_ollama", "ollama", None),
}


@dataclass(frozen=True)
class Address:
    """Where a model is found: ``openai:gpt-4.1``, or ``openai:MODEL@http://HOST:PORT/v1`` for a server of one's own."""

    llm: str
    base_url: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Address":
        """The address as it is written where several stand in one setting."""
        found = re.search(r"@(?=https?://)", text)
        return cls(text[: found.start()], text[found.end() :]) if found else cls(text)

    def __str__(self) -> str:
        return f"{self.llm}@{self.base_url}" if self.base_url else self.llm


@dataclass(eq=False)
class Backend:
    """A model that can be asked, and what is known of it by now; `way` is how it is asked for tool calls."""

    address: Address
    model: BaseChatModel
    way: Way = "tools"
    has_called: bool = False  # a tool, in this process and in this way

    @property
    def llm(self) -> str:
        """Its id, which is the proposer's name and the key of the price table."""
        return self.address.llm


NO_KEY_NEEDED = "no-key-needed"  # a server of one's own ignores it, and the client refuses to have none


def make_model(
    llm: str,
    *,
    base_url: str | None = None,
    timeout_seconds: float = 120.0,
    max_tokens: int | None = None,
    seed: int = 0,
) -> BaseChatModel:
    """The chat model of an id such as ``openai:gpt-4.1``.

    Retries belong to the agent, which records every attempt; the client itself makes none.

    Raises:
        UserError: unknown provider, missing package, missing key, or a client that cannot be made.
    """
    check_backend(llm, base_url)
    if llm == OFFLINE:
        return OfflineModel(seed=seed)
    provider, model = split_backend(llm)
    from langchain.chat_models import init_chat_model

    extra: dict[str, Any] = {"base_url": base_url} if base_url else {}
    if provider == "ollama":
        extra |= {"client_kwargs": {"timeout": timeout_seconds}, "num_predict": max_tokens}
    else:
        extra |= {"max_tokens": max_tokens} if max_tokens else {}
        extra |= {"timeout": timeout_seconds, "max_retries": 0}
    if provider == "openai" and base_url:
        extra |= {"use_responses_api": False, "api_key": tidy_key("OPENAI_API_KEY") or NO_KEY_NEEDED}
    with making(llm):
        if provider == "openai":
            return _openai(model, timeout_seconds, extra)
        chat: BaseChatModel = init_chat_model(model, model_provider=provider, **extra)
    return chat


def _openai(model: str, timeout_seconds: float, settings: dict[str, Any]) -> BaseChatModel:
    from openai import DefaultHttpxClient

    from agent.backends.wire.line import bounded
    from agent.backends.wire.shapes import PatientChatOpenAI

    client = DefaultHttpxClient(timeout=timeout_seconds)
    line = bounded(client, timeout_seconds)
    chat = PatientChatOpenAI(model_name=model, http_client=client, line=line, **settings)
    weakref.finalize(chat, client.close)
    return chat


def make_chain(config: RunConfig, purpose: Purpose = "propose", first: Address | None = None) -> list[Backend]:
    """The backends of a purpose in the order in which they are tried; `first` stands in for the first of the settings.

    Raises:
        UserError: one of them cannot be used from here.
    """
    addresses = addresses_of(config, purpose, first)
    return [
        Backend(
            address,
            make_model(
                address.llm,
                base_url=address.base_url,
                timeout_seconds=config.backend.llm_timeout_seconds,
                max_tokens=config.backend.llm_max_tokens,
                seed=config.search.seed,
            ),
            known_way(config.places.db, address),
        )
        for address in addresses
    ]


def addresses_of(config: RunConfig, purpose: Purpose = "propose", first: Address | None = None) -> list[Address]:
    """Where the backends of a purpose are, without repetitions."""
    if first is None:
        chats = purpose == "chat" and config.backend.llm_chat
        first = (
            Address.parse(config.backend.llm_chat or "")
            if chats
            else Address(config.backend.llm, config.backend.base_url)
        )
    return list(dict.fromkeys([first, *map(Address.parse, config.backend.llm_fallbacks or ())]))


def check_backends(config: RunConfig) -> None:
    """Whether all backends of the settings can be used from here; their clients are made, and nothing is sent.

    Raises:
        UserError: one sentence with the remedy.
    """
    for address in dict.fromkeys(addresses_of(config) + addresses_of(config, "chat")):
        make_model(address.llm, base_url=address.base_url)


def known_way(db_path: Path, address: Address) -> Way:
    """How a model answers by what the memory knows of it; natively, unless something else was found out."""
    if address.llm == OFFLINE or not db_path.exists():
        return "tools"
    with opened(db_path, read_only=True) as db:
        known = known_backend(db, address.llm, address.base_url)
    return known.answers if known else "tools"


def check_backend(llm: str, base_url: str | None) -> None:
    """Whether a backend can be used from here, without sending anything.

    Raises:
        UserError: one sentence with the remedy.
    """
    if llm == OFFLINE:
        if base_url:
            raise UserError(f"'{base_url}' is a server, but --llm is offline; name its model: --llm openai:NAME")
        return
    name, _ = split_backend(llm)
    provider = PROVIDERS[name]
    if find_spec(provider.package) is None:
        raise UserError(f"'{llm}' needs the package {provider.package}; pip install 'diffnas-agent[{provider.extra}]'")
    if base_url:
        check_address(base_url)
    key = tidy_key(provider.key) if provider.key else ""
    if provider.key and not base_url and not key:
        raise UserError(
            f"'{llm}' needs {provider.key}; set it in the environment or in .env, name a server of your own with "
            "--base-url, or search without a language model with --llm offline"
        )


def split_backend(llm: str) -> tuple[str, str]:
    """Provider and model of a backend that is a language model.

    Raises:
        UserError: it is none.
    """
    provider, _, model = llm.partition(":")
    if provider not in PROVIDERS or not model:
        known = ", ".join([OFFLINE, *(f"{name}:MODEL" for name in PROVIDERS)])
        raise UserError(
            f"'{llm}' is not a backend; there are {known}, and any OpenAI-compatible server with --base-url"
        )
    return provider, model


def cost_usd(llm: str, base_url: str | None, input_tokens: int | None, output_tokens: int | None) -> float | None:
    """What a call cost by the published prices; None where the price or the tokens are unknown."""
    return price_table().cost_usd(llm, base_url, input_tokens, output_tokens)
