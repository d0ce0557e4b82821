"""What keeps an agent's round going whatever the model does: every call recorded, every refusal a row, an end in sight.

Order matters: `Recorder` is the innermost, so that each attempt of a retry and each backend of a chain is a row of its
own.
"""

import json
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import replace
from typing import Any, cast

from langchain.agents.middleware import AgentMiddleware, hook_config
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.runtime import Runtime
from langgraph.types import Command
from pydantic import BaseModel, ConfigDict, ValidationError

from agent.backends.messages import State, Update, repairs_in_a_row, spoken_by
from memory.connection import connect
from memory.trials import OVER, refusals_in_round, trial_in_round
from prompts.origin import origin
from prompts.render import render
from tools.context import SearchContext
from tools.errors import Interrupted, Refused
from tools.refusals import refuse

REFUSALS_PER_ROUND = 10  # DESIGN.md, "round": after as many the fallback proposes
REPAIRS_IN_A_ROW = 3
CALLS_PER_ROUND = 40  # a model that counts and asks for ever
WRITE_THEIR_OWN = {"train_ract", "propose_strategy"}  # tools that write their refusals, with what was proposed


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
        if context.services.stop.is_set():
            raise Interrupted
        with closing(connect(context.db_path)) as db:
            trial = trial_in_round(db, context.search, context.round_number)
            refusals = refusals_in_round(db, context.search, context.round_number)
        over = trial is not None and trial.state in OVER
        calls = sum(isinstance(message, AIMessage) for message in state["messages"])
        if over or context.services.finish_reasons or refusals >= REFUSALS_PER_ROUND or calls >= CALLS_PER_ROUND:
            return {"jump_to": "end"}
        return None


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


def by_its_name(context: SearchContext, message: AnyMessage) -> SearchContext:
    """The context in which what an answer asks for is the proposal of the backend that gave it."""
    return replace(context, proposer=spoken_by(message) or context.proposer)


def _by_its_proposer(request: ToolCallRequest) -> ToolCallRequest:
    """A tool call in the context of the backend that made it."""
    message = next(m for m in reversed(request.state["messages"]) if isinstance(m, AIMessage))
    context = by_its_name(_context(request), message)
    return replace(request, runtime=replace(request.runtime, context=cast(Any, context)))
