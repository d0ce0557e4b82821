"""Speaks to models without tool calling: the tools and the results go out as words, a call comes back as JSON.

With ``json_schema`` the server is given a schema of all calls and, where it obeys, can answer nothing else; with
``fenced_json`` words alone ask for a fenced object. Both answers are read by the same patient reader, which also finds
a call that a server with tool calling left in the text. The conversation that is kept is the same in all three ways,
so that a round may go on with another model. Nothing is sent here (`agent.backends.asking`), and no call is obeyed.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from agent.backends.errors import BackendError
from agent.backends.json_calls import Found, call_in
from agent.backends.registry import Backend
from memory.backends import Way
from prompts.render import render

NEXT_WAY: dict[Way, Way] = {"tools": "json_schema", "json_schema": "fenced_json"}
REJECTIONS = {400, 404, 422, 500, 501}  # what servers answer to a parameter that they do not have
NAMES_IT: dict[Way, re.Pattern[str]] = {
    "tools": re.compile(r"tools?\b|function.?call|tool_choice", re.IGNORECASE),
    "json_schema": re.compile(r"response_format|json|schema|grammar|format", re.IGNORECASE),
}


def rejects(way: Way, error: BackendError) -> bool:
    """Whether a server says that it has no such way of asking."""
    return way in NEXT_WAY and error.status in REJECTIONS and bool(NAMES_IT[way].search(str(error)))


def in_words(messages: Sequence[AnyMessage], tools: Sequence[BaseTool]) -> list[AnyMessage]:
    """A conversation for a model without tool calling: the tools stand in the system prompt."""
    system = messages[0].text if messages and isinstance(messages[0], SystemMessage) else ""
    described = [
        {
            "name": tool["name"],
            "description": tool["description"],
            "schema": json.dumps(tool["parameters"], ensure_ascii=False),
        }
        for tool in map(_function, tools)
    ]
    prompt = f"{system}\n{render('tools', tools=described)}".strip() + "\n"
    return [SystemMessage(prompt), *spoken([m for m in messages if not isinstance(m, SystemMessage)])]


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
