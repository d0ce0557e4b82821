"""Every exchange with a model, written into memory and the ledger, failed and broken off ones too.

What an exchange may take at most is reserved of the search's allowance before it, and settled when it is written down.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessage, AnyMessage, messages_to_dict
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from agent.backends.errors import BackendError
from agent.backends.gate import CUT, is_plausible
from agent.backends.registry import Address, Backend, cost_usd
from memory.backends import remember_backend
from memory.transcript import record_call
from tools.allowance import estimated_tokens
from tools.context import SearchContext

TOKENS = ("input_tokens", "output_tokens")
BROKEN_OFF = "broken off by the user"


@dataclass
class Exchange:
    """What came of an exchange: an answer, a failure, or neither where it was broken off."""

    message: AIMessage | None = None
    failure: BackendError | None = None

    @property
    def error(self) -> str | None:
        """Why there is no answer."""
        return str(self.failure) if self.failure else None if self.message else BROKEN_OFF


class Recorder:
    """Writes down what is asked for one purpose: a round's proposal, or an answer in a chat about the search.

    The conversation is kept as its owner has it; what a model without tool calling was sent instead stands beside it.
    """

    def __init__(self, context: SearchContext, purpose: Literal["propose", "chat"], tools: Sequence[BaseTool]) -> None:
        self.context, self.purpose = context, purpose
        self.round = context.round_number if purpose == "propose" else None
        self.told = {tool.name: told_of(tool) for tool in tools}

    @contextmanager
    def exchange(
        self, address: Address, messages: Sequence[AnyMessage], sent: Sequence[AnyMessage] | None
    ) -> Iterator[Exchange]:
        """Write down what the block makes of the exchange; `sent` are the words, where it is not the messages.

        Raises:
            AllowanceSpent: with it a limit of the search might be passed.
        """
        allowance, found = self.context.services.allowance, Exchange()
        texts = self._texts(messages) if sent is None else _texts_of(sent)
        tokens = estimated_tokens(*texts)
        ticket = allowance.check_before_call(tokens, llm=address.llm, base_url=address.base_url) if allowance else 0
        started = time.monotonic()
        try:
            yield found
        finally:
            try:
                used = self._usage(found, texts)
                self._write(address, self._request(messages, sent), found, used, time.monotonic() - started)
            finally:
                if allowance is not None:
                    allowance.settle(ticket)

    def remember(self, backend: Backend) -> None:
        """Keep the way in which a model was found to answer."""
        remember_backend(self.context.db, backend.llm, backend.address.base_url, backend.way, source="search")

    def _usage(self, found: Exchange, texts: Sequence[str]) -> tuple[dict[str, int | None], bool]:
        """The tokens that are charged, and whether they are our estimate, since the server's cannot be true."""
        told: dict[str, Any] | None = dict(found.message.usage_metadata or {}) if found.message else None
        if not told or found.message is None:
            return dict.fromkeys(TOKENS), False
        calls = [json.dumps(call["args"]) for call in found.message.tool_calls]
        answer = [found.message.text, *calls]
        if is_plausible(told, sum(map(len, texts)), sum(map(len, answer))):
            return {name: told[name] for name in TOKENS}, False
        return dict(zip(TOKENS, (estimated_tokens(*texts), estimated_tokens(*answer)), strict=True)), True

    def _texts(self, messages: Sequence[AnyMessage]) -> list[str]:
        """All that a model with tool calling reads."""
        calls = [json.dumps(message.tool_calls) for message in messages if isinstance(message, AIMessage)]
        return [*_texts_of(messages), *calls, *self.told.values()]

    def _request(self, messages: Sequence[AnyMessage], sent: Sequence[AnyMessage] | None) -> dict[str, Any]:
        request = {"messages": messages_to_dict(messages), "tools": sorted(self.told)}
        return request if sent is None else {**request, "sent": messages_to_dict(sent)}

    def _write(
        self,
        address: Address,
        request: dict[str, Any],
        found: Exchange,
        used: tuple[dict[str, int | None], bool],
        seconds: float,
    ) -> None:
        tokens, is_estimated = used
        price_of = self.context.services.allowance.cost_usd if self.context.services.allowance else cost_usd
        is_billed = found.failure is None or found.failure.may_be_billed
        cost = price_of(address.llm, address.base_url, *(tokens.values() if is_billed else (0, 0)))
        shas = {name: tool_sha(told) for name, told in self.told.items()}
        record_call(
            self.context.db,
            self.context.search,
            self.round,
            purpose=self.purpose,
            model=address.llm,
            request=request,
            response=messages_to_dict([found.message])[0] if found.message else None,
            error=found.error,
            cost_usd=cost,
            seconds=seconds,
            extra={"base_url": address.base_url, "tools": shas, "billed": is_billed, "estimated": is_estimated}
            | _cut(found.message),
            **tokens,
        )
        if self.purpose == "propose":  # a chat is no event of the search
            self.context.report(
                "llm.call", model=address.llm, cost_usd=cost, error=found.error, estimated=is_estimated, **tokens
            )


def _cut(message: AIMessage | None) -> dict[str, Any]:
    """What was cut of an answer, where anything was."""
    notes = message.response_metadata.get(CUT) if message else None
    return {CUT: notes} if notes else {}


def told_of(tool: BaseTool) -> str:
    """What a model is told about a tool, as JSON text."""
    return json.dumps(convert_to_openai_tool(tool), sort_keys=True, ensure_ascii=False)


def tool_sha(told: str) -> str:
    """Twelve hex digits that stand for what a model is told about a tool."""
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _texts_of(messages: Sequence[AnyMessage]) -> list[str]:
    return [str(message.text) for message in messages]
