"""What keeps an agent's round going whatever the model does: every refusal a row, an end in sight.

`Asks` is the innermost: the agent's model is asked as all models are, by `agent.backends.asking`.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, hook_config
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.runtime import Runtime
from langgraph.types import Command

from agent.backends.asking import Asking
from agent.backends.chain import spoken_by
from agent.backends.repair import problems_of, repair, repairs_in_a_row, with_calls, wrong_arguments
from memory.trials import OVER, refusals_in_round, trial_in_round
from tools.context import SearchContext
from tools.errors import Interrupted, Refused
from tools.refusals import refuse

REFUSALS_PER_ROUND = 10  # DESIGN.md, "round": after as many the fallback proposes
REPAIRS_IN_A_ROW = 3
CALLS_PER_ROUND = 40  # a model that counts and asks for ever
WRITE_THEIR_OWN = {"train_ract", "propose_strategy"}  # tools that write their refusals, with what was proposed


State = AgentState[Any]
Update = dict[str, Any] | None


class Asks(AgentMiddleware[State, SearchContext, Any]):
    """Has the model of a round asked as every model is; one object plays one round."""

    def __init__(self, asking: Asking) -> None:
        super().__init__()
        self.asking = asking

    def wrap_model_call(
        self, request: ModelRequest[SearchContext], handler: Callable[[ModelRequest[SearchContext]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """The answer, from whichever backend; the agent's own call is never made.

        Raises:
            BackendError, AllowanceSpent, Interrupted: as `Asking.answer`.
        """
        system = [request.system_message] if request.system_message else []
        return ModelResponse(result=[self.asking.answer([*system, *request.messages])])


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
        clean = with_calls(message, usable)
        if usable:
            return {"messages": [clean]}
        if repairs_in_a_row(state["messages"]) >= REPAIRS_IN_A_ROW:
            return {"messages": [clean], "jump_to": "end"}
        nudge = repair([sentence for _, sentence, _ in problems], self.by_name)
        return {"messages": [clean, nudge], "jump_to": "model"}

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Arguments that do not fit the schema are a refusal with a row, in words that say what would be right.

        Raises:
            Interrupted: the user stops the search, whose answer may hold further calls.
        """
        if context_of(request).services.stop.is_set():
            raise Interrupted
        request = _by_its_proposer(request)
        call = request.tool_call
        tool = self.by_name[call["name"]]
        if sentence := wrong_arguments(tool, call["args"]):
            refuse(context_of(request), Refused("arguments", sentence), raw_text=json.dumps(call["args"]))
            return ToolMessage(sentence, tool_call_id=call["id"], name=call["name"], status="error")
        answer = handler(request)
        if isinstance(answer, ToolMessage) and answer.status == "error" and call["name"] not in WRITE_THEIR_OWN:
            refuse(context_of(request), Refused("tool_refused", answer.text), raw_text=json.dumps(call))
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
        db = context.db
        trial = trial_in_round(db, context.search, context.round_number)
        refusals = refusals_in_round(db, context.search, context.round_number)
        over = trial is not None and trial.state in OVER
        calls = sum(isinstance(message, AIMessage) for message in state["messages"])
        if over or context.services.finish_reasons or refusals >= REFUSALS_PER_ROUND or calls >= CALLS_PER_ROUND:
            return {"jump_to": "end"}
        return None


def context_of(request: ToolCallRequest) -> SearchContext:
    """The round in which a tool is called."""
    context: SearchContext = cast(Any, request.runtime).context  # the agent is always run with our context
    return context


def by_its_name(context: SearchContext, message: AnyMessage) -> SearchContext:
    """The context in which what an answer asks for is the proposal of the backend that gave it."""
    return replace(context, proposer=spoken_by(message) or context.proposer)


def _by_its_proposer(request: ToolCallRequest) -> ToolCallRequest:
    """A tool call in the context of the backend that made it."""
    message = next(m for m in reversed(request.state["messages"]) if isinstance(m, AIMessage))
    context = by_its_name(context_of(request), message)
    return replace(request, runtime=replace(request.runtime, context=cast(Any, context)))
