"""What is wrong with an answer of a model, before any gate is asked, and how it is asked again.

A call is judged by the schema of its tool alone; what its arguments mean is the tool's to judge.
"""

import json
from collections.abc import Collection, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, ValidationError

from agent.backends.gate import CUT
from prompts.origin import origin
from prompts.render import render


def problems_of(message: AIMessage, tools: Collection[str]) -> list[tuple[str, str, str]]:
    """(kind, sentence, raw text) of everything in an answer that cannot be obeyed, whatever its arguments mean."""
    found = [
        ("malformed", f"Your call of {bad['name']} had arguments that are not valid JSON.", str(bad["args"]))
        for bad in message.invalid_tool_calls
    ]
    found += [("cut", f"Only a part was read: {note}.", "") for note in message.response_metadata.get(CUT, [])]
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


def with_calls(message: AIMessage, calls: Sequence[Any]) -> AIMessage:
    """The answer with these calls only, each with an id; it stands in for the original, so that providers accept it."""
    numbered = [{**call, "id": call["id"] or f"call_{index}_{message.id}"} for index, call in enumerate(calls)]
    return AIMessage(
        message.text or ("" if numbered else "(no usable tool call)"),
        id=message.id,
        tool_calls=numbered,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
    )


def repair(sentences: Sequence[str], tools: Collection[str]) -> HumanMessage:
    """What a model is told whose answer held no usable call."""
    values = {"problem": " ".join(sentences), "tools": list(tools)}
    return HumanMessage(render("repair", **values), name="repair", additional_kwargs=origin("repair", values=values))


def repairs_in_a_row(messages: Sequence[AnyMessage]) -> int:
    """How often the model was asked again since the last tool call."""
    count = 0
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            break
        count += isinstance(message, HumanMessage) and message.name == "repair"
    return count
