"""What keeps an agent's round going whatever the model does: every call recorded, every refusal a row, an end in sight.

Order matters: `Recorder` is the innermost, so that each attempt of a retry and each backend of a chain is a row of its
own.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, cast

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, hook_config
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage, messages_to_dict
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.runtime import Runtime
from langgraph.types import Command
from pydantic import BaseModel, ConfigDict, ValidationError

from agent.backends import Address, Backend, cost_usd
from agent.offline import OfflineModel
from agent.prompted import origin
from memory.connection import connect
from memory.redaction import redact
from memory.transcript import record_call
from memory.trials import OVER, refusals_in_round, trial_in_round
from prompts.render import render
from tools.allowance import estimated_tokens
from tools.context import SearchContext
from tools.errors import Interrupted, Refused
from tools.train_ract import refuse

REFUSALS_PER_ROUND = 10  # DESIGN.md, "round": after as many the fallback proposes
REPAIRS_IN_A_ROW = 3
CALLS_PER_ROUND = 40  # a model that counts and asks for ever
WRITE_THEIR_OWN = {"train_ract", "propose_strategy"}  # tools that write their refusals, with what was proposed
TRANSIENT_STATUS = {408, 409, 425, 429}

Update = dict[str, Any] | None
State = AgentState[Any]


class BackendError(RuntimeError):
    """The backend gave no usable answer. `transient`: trying again may help; `status`: the HTTP status, if any;
    `retry_after_seconds`: how long the server asks to be left alone; `may_be_billed`: an answer was given up.
    """

    def __init__(self, error: Exception) -> None:
        self.status: int | None = getattr(error, "status_code", None)
        self.retry_after_seconds = _retry_after(error)
        self.may_be_billed = "timeout" in type(error).__name__.lower()  # it was asked, and may have answered
        said = redact(" ".join(str(error).split()))  # a server may send the key back
        super().__init__(f"{type(error).__name__}: {said[:300]}")

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed later: no answer at all, too many calls, or the server's own failure."""
        return self.status is None or self.status in TRANSIENT_STATUS or self.status >= 500

    @property
    def refused(self) -> bool:
        """Whether the backend will refuse every call: a wrong key, no permission, no such model."""
        return self.status in (401, 403, 404)


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
        if context.stop.is_set():
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
            if context.allowance is not None:
                context.allowance.settle(ticket)

    def _reserve(self, request: ModelRequest[SearchContext]) -> int:
        """Ask for what the call may take at most.

        Raises:
            AllowanceSpent: with it a limit of the search might be passed.
        """
        allowance, address = request.runtime.context.allowance, self.backend_of(request.model).address
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


class KeepGoing(AgentMiddleware[State, SearchContext]):
    """An answer without a usable tool call is sent back with what was wrong, a bounded number of times."""

    def __init__(self, tools: list[BaseTool]) -> None:
        super().__init__()
        self.by_name = {tool.name: tool for tool in tools}

    @hook_config(can_jump_to=["model", "end"])
    def after_model(self, state: State, runtime: Runtime[SearchContext]) -> Update:
        """Drop malformed calls, name unknown tools, and ask again when nothing usable is left."""
        message = state["messages"][-1]
        if not isinstance(message, AIMessage):
            return None
        problems = problems_of(message, self.by_name)
        for kind, sentence, raw_text in problems:
            refuse(by_its_name(runtime.context, message), Refused(kind, sentence), raw_text=raw_text)
        usable = [call for call in message.tool_calls if call["name"] in self.by_name]
        clean = _clean(message, usable)
        if usable:
            return {"messages": [clean]}
        if repairs_in_a_row(state["messages"]) >= REPAIRS_IN_A_ROW:
            return {"messages": [clean], "jump_to": "end"}
        problem = " ".join(sentence for _, sentence, _ in problems)
        values = {"problem": problem, "tools": list(self.by_name)}
        nudge = HumanMessage(
            render("repair", **values), name="repair", additional_kwargs=origin("repair", values=values)
        )
        return {"messages": [clean, nudge], "jump_to": "model"}

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Arguments that do not fit the schema are a refusal with a row, in words that say what would be right."""
        request = _by_its_proposer(request)
        call = request.tool_call
        tool = self.by_name[call["name"]]
        if sentence := wrong_arguments(tool, call["args"]):
            refuse(_context(request), Refused("arguments", sentence), raw_text=json.dumps(call["args"]))
            return ToolMessage(sentence, tool_call_id=call["id"], name=call["name"], status="error")
        answer = handler(request)
        if isinstance(answer, ToolMessage) and answer.status == "error" and call["name"] not in WRITE_THEIR_OWN:
            refuse(_context(request), Refused("tool_refused", answer.text), raw_text=json.dumps(call))
        return answer


class RoundEnd(AgentMiddleware[State, SearchContext]):
    """Ends a round: its trial is over, the search is to end, too much was refused, or the user stops it."""

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: State, runtime: Runtime[SearchContext]) -> Update:
        """Look before each call of the model.

        Raises:
            Interrupted: the user stops the search.
        """
        context = runtime.context
        if context.stop.is_set():
            raise Interrupted
        with closing(connect(context.db_path)) as db:
            trial = trial_in_round(db, context.search, context.round_number)
            refusals = refusals_in_round(db, context.search, context.round_number)
        over = trial is not None and trial.state in OVER
        calls = sum(isinstance(message, AIMessage) for message in state["messages"])
        if over or context.finish_reasons or refusals >= REFUSALS_PER_ROUND or calls >= CALLS_PER_ROUND:
            return {"jump_to": "end"}
        return None


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
    price_of = context.allowance.cost_usd if context.allowance else cost_usd
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


def _clean(message: AIMessage, calls: list[Any]) -> AIMessage:
    """The answer with usable calls only, each with an id; it replaces the original, so that providers accept it."""
    numbered = [{**call, "id": call["id"] or f"call_{index}_{message.id}"} for index, call in enumerate(calls)]
    text = message.text or ("" if numbered else "(no usable tool call)")
    return AIMessage(
        text,
        id=message.id,
        tool_calls=numbered,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
    )


def problems_of(message: AIMessage, tools: Collection[str]) -> list[tuple[str, str, str]]:
    """(kind, sentence, raw text) of everything in an answer that cannot be obeyed, whatever its arguments mean."""
    found = [
        ("malformed", f"Your call of {bad['name']} had arguments that are not valid JSON.", str(bad["args"]))
        for bad in message.invalid_tool_calls
    ]
    for call in message.tool_calls:
        if call["name"] not in tools:
            found.append(("unknown_tool", f"There is no tool {call['name']!r}.", json.dumps(call["args"])))
    if not found and not message.tool_calls:
        said = message.text.strip()
        kind, sentence = ("no_tool_call", "held no tool call") if said else ("empty_answer", "was empty")
        found.append((kind, f"Your answer {sentence}.", said))
    return found


def wrong_arguments(tool: BaseTool, arguments: dict[str, Any]) -> str | None:
    """What is wrong with the arguments of a call, in a sentence; None: nothing."""
    try:
        check_arguments(tool, arguments)
    except ValidationError as error:
        return f"{tool.name}: {what_is_wrong(error)}"
    return None


def repairs_in_a_row(messages: Sequence[AnyMessage]) -> int:
    """How often the model was asked again since the last tool call."""
    count = 0
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            break
        count += isinstance(message, HumanMessage) and message.name == "repair"
    return count


def check_arguments(tool: BaseTool, arguments: dict[str, Any]) -> Any:
    """Validate what the model gave; the injected runtime is not its concern, unknown names are.

    Raises:
        ValidationError: it does not fit the tool's schema.
    """
    schema = tool.tool_call_schema  # without the runtime, and without the `extra="forbid"` of the arguments
    assert isinstance(schema, type) and issubclass(schema, BaseModel), "our tools have pydantic schemas"
    strict: type[BaseModel] = type(schema.__name__, (schema,), {"model_config": ConfigDict(extra="forbid")})
    return strict.model_validate(arguments)


def what_is_wrong(error: ValidationError) -> str:
    """The errors in one line: where and what."""
    parts = [f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}" for item in error.errors()[:5]]
    return "; ".join(parts) + "."


def _context(request: ToolCallRequest) -> SearchContext:
    context: SearchContext = cast(Any, request.runtime).context  # the agent is always run with our context
    return context


def spoken_by(message: AnyMessage) -> str | None:
    """The backend that gave an answer, as `agent.fallback_chain` signed it."""
    return message.response_metadata.get("backend")


def by_its_name(context: SearchContext, message: AnyMessage) -> SearchContext:
    """The context in which what an answer asks for is the proposal of the backend that gave it."""
    return replace(context, proposer=spoken_by(message) or context.proposer)


def told_of(tool: BaseTool) -> str:
    """What a model is told about a tool, as JSON text."""
    return json.dumps(convert_to_openai_tool(tool), sort_keys=True, ensure_ascii=False)


def tool_sha(told: str) -> str:
    """Twelve hex digits that stand for what a model is told about a tool."""
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _by_its_proposer(request: ToolCallRequest) -> ToolCallRequest:
    """A tool call in the context of the backend that made it."""
    message = next(m for m in reversed(request.state["messages"]) if isinstance(m, AIMessage))
    context = by_its_name(_context(request), message)
    return replace(request, runtime=replace(request.runtime, context=cast(Any, context)))


def _with_system(system: SystemMessage | None, messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    return [*([system] if system else []), *messages]


def _retry_after(error: Exception) -> float | None:
    """The seconds of a ``Retry-After`` header; a date in it is passed over."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    text = str(headers.get("retry-after", ""))
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d+)?", text) else None
