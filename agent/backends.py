"""Which language model proposes: ``offline``, ``openai:…``, any OpenAI-compatible ``--base-url``, and what LangChain's
`init_chat_model` knows when the provider's package is installed.

A backend is checked before anything is spent: its package and its key must be there. Nothing is sent yet.
"""

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel

from agent.offline import OfflineModel
from diffusion.errors import UserError

OFFLINE = "offline"


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
        UserError: unknown provider, missing package, missing key.
    """
    check_backend(llm, base_url)
    if llm == OFFLINE:
        return OfflineModel(seed=seed)
    provider, model = _parsed(llm)
    from langchain.chat_models import init_chat_model

    extra: dict[str, Any] = {"base_url": base_url} if base_url else {}
    if provider == "ollama":
        extra |= {"client_kwargs": {"timeout": timeout_seconds}, "num_predict": max_tokens}
    else:
        extra |= {"max_tokens": max_tokens} if max_tokens else {}
        extra |= {"timeout": timeout_seconds, "max_retries": 0}
    if provider == "openai" and base_url:
        extra |= {"use_responses_api": False, "api_key": os.environ.get("OPENAI_API_KEY") or NO_KEY_NEEDED}
    chat: BaseChatModel = init_chat_model(model, model_provider=provider, **extra)
    return chat


def check_backend(llm: str, base_url: str | None) -> None:
    """Whether a backend can be used from here, without sending anything.

    Raises:
        UserError: one sentence with the remedy.
    """
    if llm == OFFLINE:
        if base_url:
            raise UserError(f"'{base_url}' is a server, but --llm is offline; name its model: --llm openai:NAME")
        return
    name, _ = _parsed(llm)
    provider = PROVIDERS[name]
    if find_spec(provider.package) is None:
        raise UserError(f"'{llm}' needs the package {provider.package}; pip install 'diffnas-agent[{provider.extra}]'")
    if base_url and not base_url.startswith(("http://", "https://")):
        raise UserError(f"'{base_url}' is not an address; write --base-url http://HOST:PORT/v1")
    if provider.key and not base_url and not os.environ.get(provider.key):
        raise UserError(
            f"'{llm}' needs {provider.key}; set it in the environment or in .env, name a server of your own with "
            "--base-url, or search without a language model with --llm offline"
        )


def _parsed(llm: str) -> tuple[str, str]:
    provider, _, model = llm.partition(":")
    if provider not in PROVIDERS or not model:
        known = ", ".join([OFFLINE, *(f"{name}:MODEL" for name in PROVIDERS)])
        raise UserError(
            f"'{llm}' is not a backend; there are {known}, and any OpenAI-compatible server with --base-url"
        )
    return provider, model


def cost_usd(llm: str, base_url: str | None, input_tokens: int, output_tokens: int) -> float | None:
    """What a call cost by the price table; None where the price is unknown."""
    if llm == OFFLINE:
        return 0.0
    price = None if base_url else prices().get(llm)
    return None if price is None else (input_tokens * price[0] + output_tokens * price[1]) / 1e6


@cache
def prices() -> dict[str, list[float]]:
    """US dollars per million input and output tokens, by backend id."""
    table: dict[str, list[float]] = tomllib.loads((Path(__file__).parent / "prices.toml").read_text())
    return table
