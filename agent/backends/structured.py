"""Speaks to models without tool calling: the tools and the results go out as words, a call comes back as JSON.

With ``json_schema`` the server is given a schema of all calls and, where it obeys, can answer nothing else; with
``fenced_json`` words alone ask for a fenced object. Both answers are read by the same patient reader, which also finds
a call that a server with tool calling left in the text. The conversation that is kept is the same in all three ways,
so that a round may go on with another model. A server that rejects one way is asked in the next, and that is
remembered. No call is obeyed here.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from agent.backends.chain import Chain
from agent.backends.errors import BackendError
from agent.backends.json_calls import Found, call_in
from agent.backends.messages import State, repairs_in_a_row
from agent.backends.registry import Backend
from memory.backends import Way, remember_backend
from memory.connection import opened
from prompts.render import render
from tools.context import SearchContext

NEXT_WAY: dict[Way, Way] = {"tools": "json_schema", "json_schema": "fenced_json"}
REJECTIONS = {400, 404, 422, 500, 501}  # what servers answer to a parameter that they do not have
NAMES_IT: dict[Way, re.Pattern[str]] = {
    "tools": re.compile(r"tools?\b|function.?call|tool_choice", re.IGNORECASE),
    "json_schema": re.compile(r"response_format|json|schema|grammar|format", re.IGNORECASE),
}
WORDLESS_ANSWERS = 2  # in a row without a tool call, before a model that never called one is asked in another way

Handler = Callable[[ModelRequest[SearchContext]], ModelResponse[Any]]


class Structured(AgentMiddleware[State, SearchContext, Any]):
    """Asks each model in the way in which it answers."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.chain = chain

    def wrap_model_call(self, request: ModelRequest[SearchContext], handler: Handler) -> ModelResponse[Any]:
        """One answer, as a message with tool calls whichever way it came.

        Raises:
            BackendError: as the call, unless another way helps.
        """
        backend, tools = self.chain.of(request.model), plain_tools(request.tools)
        before, way = backend.way, self._way(backend, request)
        while True:
            try:
                response = handler(asked(request, tools, way, backend))
                break
            except BackendError as error:
                if backend.has_called or not rejects(way, error):
                    raise
                way = NEXT_WAY[way]
        response = understood(response, tools, len(request.messages))
        if any(isinstance(message, AIMessage) and message.tool_calls for message in response.result):
            backend.way, backend.has_called = way, True
        if backend.way != before:
            _remember(request.runtime.context, backend)
        return response

    def _way(self, backend: Backend, request: ModelRequest[SearchContext]) -> Way:
        """The way that is known; another one for a model that was told twice and still only talks."""
        if backend.has_called or repairs_in_a_row(request.messages) < WORDLESS_ANSWERS:
            return backend.way
        return NEXT_WAY.get(backend.way, backend.way)


def rejects(way: Way, error: BackendError) -> bool:
    """Whether a server says that it has no such way of asking."""
    return way in NEXT_WAY and error.status in REJECTIONS and bool(NAMES_IT[way].search(str(error)))


def asked(
    request: ModelRequest[SearchContext], tools: Sequence[BaseTool], way: Way, backend: Backend
) -> ModelRequest[SearchContext]:
    """The request in one of the ways."""
    if way == "tools":
        return request
    system = request.system_message.text if request.system_message else ""
    return request.override(
        system_message=SystemMessage(in_words(system, tools)),
        messages=spoken(request.messages),
        tools=[],
        tool_choice=None,
        model_settings=schema_settings(backend, tools) if way == "json_schema" else {},
    )


def ask(
    backend: Backend, way: Way, system: SystemMessage, messages: Sequence[AnyMessage], tools: Sequence[BaseTool]
) -> AIMessage:
    """One answer outside an agent, with its call as a tool call; nothing is recorded.

    Raises:
        BackendError: there is none.
    """
    try:
        if way == "tools":
            answer = backend.model.bind_tools(list(tools)).invoke([system, *messages])
        else:
            settings = schema_settings(backend, tools) if way == "json_schema" else {}
            words = SystemMessage(in_words(system.text, tools))
            answer = backend.model.bind(**settings).invoke([words, *spoken(messages)])
    except Exception as error:  # whatever a client raises
        raise BackendError(error) from error
    return read(answer, tools, len(messages))


def in_words(system: str, tools: Sequence[BaseTool]) -> str:
    """The system prompt with the tools in it."""
    described = [
        {
            "name": tool["name"],
            "description": tool["description"],
            "schema": json.dumps(tool["parameters"], ensure_ascii=False),
        }
        for tool in map(_function, tools)
    ]
    return f"{system}\n{render('tools', tools=described)}".strip() + "\n"


def spoken(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """A conversation without tool messages: calls as fenced objects, results as the user's words, one after the other.

    Two messages of the same side become one, since some servers take no other order.
    """
    said: list[AnyMessage] = []
    for message in messages:
        if isinstance(message, AIMessage):
            calls = [{"tool": call["name"], "arguments": call["args"]} for call in message.tool_calls]
            fences = [f"```json\n{json.dumps(call, ensure_ascii=False)}\n```" for call in calls]
            said.append(AIMessage("\n".join(filter(None, [message.text, *fences]))))
        else:
            text = _result(message) if isinstance(message, ToolMessage) else message.text
            if said and isinstance(said[-1], HumanMessage):
                text = f"{said.pop().text}\n\n{text}"
            said.append(HumanMessage(text))
    if said and isinstance(said[-1], HumanMessage):
        said[-1] = HumanMessage(f"{said[-1].text}\n\n{render('answer').strip()}")
    return said


def schema_settings(backend: Backend, tools: Sequence[BaseTool]) -> dict[str, Any]:
    """What makes a server hold the model to the schema of all calls, as its client takes it."""
    schema = calls_schema(tools)
    if backend.llm.startswith("ollama:"):
        return {"format": schema}
    asked = {"type": "json_schema", "json_schema": {"name": "tool_call", "schema": schema}}
    # Given as a parameter of its own, the client parses the answer and raises where it was cut off; ours mends it.
    return {"extra_body": {"response_format": asked}}


def calls_schema(tools: Sequence[BaseTool]) -> dict[str, Any]:
    """A JSON schema of exactly the calls that the tools take."""

    def call(tool: dict[str, Any]) -> dict[str, Any]:
        properties = {"tool": {"type": "string", "enum": [tool["name"]]}, "arguments": tool["parameters"]}
        return {
            "type": "object",
            "properties": properties,
            "required": ["tool", "arguments"],
            "additionalProperties": False,
        }

    return {"anyOf": [call(_function(tool)) for tool in tools]}


def understood(response: ModelResponse[Any], tools: Sequence[BaseTool], position: int) -> ModelResponse[Any]:
    """The response with the call that stands in its text; one that has tool calls stays as it is."""
    result = [read(m, tools, position) if isinstance(m, AIMessage) else m for m in response.result]
    return ModelResponse(result=result, structured_response=response.structured_response)


def read(message: AIMessage, tools: Sequence[BaseTool], position: int) -> AIMessage:
    """A message with its first call as a tool call. What stands after it is dropped: a model may go on and invent the
    result.
    """
    if message.tool_calls or message.invalid_tool_calls:
        return message
    found = call_in(message.text, {tool.name for tool in tools})
    if found is None:
        return message
    return message.model_copy(update={"content": found.before, **_as_calls(found, position)})


def plain_tools(tools: Sequence[BaseTool | dict[str, Any]]) -> list[BaseTool]:
    """The tools that are ours; a provider's own cannot be put into words."""
    return [tool for tool in tools if isinstance(tool, BaseTool)]


def _as_calls(found: Found, position: int) -> dict[str, Any]:
    identity = hashlib.sha256(f"{position}/{found.raw}".encode()).hexdigest()[:12]
    named = {"name": found.tool, "id": f"call_{identity}"}
    if found.arguments is None:
        return {"invalid_tool_calls": [{**named, "args": found.raw, "error": None, "type": "invalid_tool_call"}]}
    return {"tool_calls": [{**named, "args": found.arguments, "type": "tool_call"}]}


def _result(message: ToolMessage) -> str:
    text = message.text.replace("```", "'''")
    return render("tool_result", tool=message.name or "the tool", failed=message.status == "error", text=text).strip()


def _function(tool: BaseTool) -> dict[str, Any]:
    function: dict[str, Any] = convert_to_openai_tool(tool)["function"]
    return function


def _remember(context: SearchContext, backend: Backend) -> None:
    with opened(context.db_path) as db:
        remember_backend(db, backend.llm, backend.address.base_url, backend.way, source="search")
