"""Every exchange with a model, written into memory and the ledger, failed ones too."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage, messages_to_dict
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from agent.backends.errors import BackendError
from agent.backends.messages import State
from agent.backends.offline import OfflineModel
from agent.backends.registry import Address, Backend, cost_usd
from memory.connection import connect
from memory.transcript import record_call
from tools.allowance import estimated_tokens
from tools.context import SearchContext
from tools.errors import Interrupted


class Recorder(AgentMiddleware[State, SearchContext, Any]):
    """Writes every exchange with the model into memory and the ledger, failed ones too.

    The conversation is kept as the agent has it; what a model without tool calling was sent instead stands beside it.
    """

    def __init__(
        self, backend_of: Callable[[BaseChatModel], Backend], tools: list[BaseTool], system: SystemMessage | None
    ) -> None:
        super().__init__()
        self.backend_of, self.system = backend_of, system
        self.told = {tool.name: told_of(tool) for tool in tools}
        self.offered = {name: tool_sha(told) for name, told in self.told.items()}

    def wrap_model_call(
        self, request: ModelRequest[SearchContext], handler: Callable[[ModelRequest[SearchContext]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Call the model once; what a client raises becomes a `BackendError`, a bug of ours stays what it is."""
        context = request.runtime.context
        if context.services.stop.is_set():
            raise Interrupted  # also between two attempts of a retry
        ticket, started = self._reserve(request), time.monotonic()
        try:
            response = handler(request)
        except Exception as error:
            if isinstance(request.model, OfflineModel):
                raise
            failure = BackendError(error)
            self._record(request, None, failure, time.monotonic() - started)
            raise failure from error
        else:
            message = next(m for m in response.result if isinstance(m, AIMessage))
            self._record(request, message, None, time.monotonic() - started)
            return response
        finally:
            if context.services.allowance is not None:
                context.services.allowance.settle(ticket)

    def _reserve(self, request: ModelRequest[SearchContext]) -> int:
        """Ask for what the call may take at most.

        Raises:
            AllowanceSpent: with it a limit of the search might be passed.
        """
        allowance, address = request.runtime.context.services.allowance, self.backend_of(request.model).address
        if allowance is None:
            return 0
        sent: list[str] = [str(message.text) for message in _with_system(request.system_message, request.messages)]
        sent += [json.dumps(message.tool_calls) for message in request.messages if isinstance(message, AIMessage)]
        told = [self.told[tool.name] for tool in request.tools if isinstance(tool, BaseTool)]
        return allowance.check_before_call(estimated_tokens(*sent, *told), llm=address.llm, base_url=address.base_url)

    def _record(
        self,
        request: ModelRequest[SearchContext],
        message: AIMessage | None,
        failure: BackendError | None,
        seconds: float,
    ) -> None:
        context, address = request.runtime.context, self.backend_of(request.model).address
        error = str(failure) if failure else None
        tokens, cost = record_exchange(
            context,
            address,
            context.round_number,
            "propose",
            self._request(request),
            message,
            failure,
            seconds,
            error=error,
            tools=self.offered,
        )
        context.report("llm.call", model=address.llm, cost_usd=cost, error=error, **tokens)

    def _request(self, request: ModelRequest[SearchContext]) -> dict[str, Any]:
        sent = _with_system(request.system_message, request.messages)
        if request.tools:
            return {"messages": messages_to_dict(sent), "tools": sorted(self.offered)}
        own = _with_system(self.system, request.state["messages"])
        return {"messages": messages_to_dict(own), "tools": sorted(self.offered), "sent": messages_to_dict(sent)}


def record_exchange(
    context: SearchContext,
    address: Address,
    round_number: int | None,
    purpose: str,
    request: dict[str, Any],
    message: AIMessage | None,
    failure: BackendError | None,
    seconds: float,
    *,
    error: str | None,
    **extra: Any,
) -> tuple[dict[str, int | None], float | None]:
    """Write one exchange into memory and the ledger; its tokens and its price, None where they are unknown."""
    usage: dict[str, Any] = dict(message.usage_metadata or {}) if message else {}
    tokens = {name: usage.get(name) for name in ("input_tokens", "output_tokens")}
    price_of = context.services.allowance.cost_usd if context.services.allowance else cost_usd
    is_billed = failure is None or failure.may_be_billed
    cost = price_of(address.llm, address.base_url, *(tokens.values() if is_billed else (0, 0)))
    with closing(connect(context.db_path)) as db:
        record_call(
            db,
            context.search,
            round_number,
            purpose=purpose,
            model=address.llm,
            request=request,
            response=messages_to_dict([message])[0] if message else None,
            error=error,
            cost_usd=cost,
            seconds=seconds,
            extra={"base_url": address.base_url, **extra, "billed": is_billed},
            **tokens,
        )
    return tokens, cost


def told_of(tool: BaseTool) -> str:
    """What a model is told about a tool, as JSON text."""
    return json.dumps(convert_to_openai_tool(tool), sort_keys=True, ensure_ascii=False)


def tool_sha(told: str) -> str:
    """Twelve hex digits that stand for what a model is told about a tool."""
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _with_system(system: SystemMessage | None, messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    return [*([system] if system else []), *messages]
