"""OpenAI's client, made to read what servers that resemble OpenAI's write: an odd shape is an answer with a fault.

LangChain's converter raises where arguments come encoded twice or as an object, where a content is neither text nor a
list, or where there is no choice at all. Here they are brought into the shape that is meant before it sees them; what
remains wrong is said to the model and costs a repair, not the round. Usage that is no set of numbers is none.
"""

import json
from typing import Annotated, Any

from langchain_core.outputs import ChatResult
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

from agent.backends.gate import token_count
from agent.backends.wire.line import Line


class PatientChatOpenAI(ChatOpenAI):
    """`ChatOpenAI` that brings answers into shape before it reads them; its `line` bounds them, where it has one."""

    line: Annotated[Line | None, Field(exclude=True)] = None

    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> ChatResult:
        if isinstance(response, BaseModel):
            response = response.model_dump(warnings=False)
        return super()._create_chat_result(
            mended(response) if isinstance(response, dict) else response, generation_info
        )


def mended(response: dict[str, Any]) -> dict[str, Any]:
    """A completion in the shape that OpenAI's have; an error that a server tells stays one."""
    if response.get("error"):
        return response
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = first.get("message")
    found = _message(message if isinstance(message, dict) else {})
    choice = {**first, "index": 0, "message": found, "finish_reason": _text(first.get("finish_reason"))}
    return {**response, "choices": [choice], "usage": _usage(response.get("usage"))}


def _message(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls") if isinstance(message.get("tool_calls"), list) else []
    if isinstance(message.get("function_call"), dict):  # as it was before tools
        calls = [*(calls or []), {"function": message["function_call"]}]
    found = [_call(call, number) for number, call in enumerate(calls or []) if isinstance(call, dict)]
    return {"role": "assistant", "content": _text(message.get("content"))} | ({"tool_calls": found} if found else {})


def _call(call: dict[str, Any], number: int) -> dict[str, Any]:
    function = call["function"] if isinstance(call.get("function"), dict) else call
    name, arguments = _text(function.get("name")), function.get("arguments")
    return {
        "id": _text(call.get("id")) or f"call_{number}",
        "type": "function",
        "function": {"name": name, "arguments": _arguments(arguments)},
    }


def _arguments(given: Any) -> str:
    """The JSON text of an object: of one that came as an object, or encoded twice; other text as it is."""
    if not isinstance(given, str):
        return json.dumps({} if given is None else given)
    try:
        once = json.loads(given)
        twice = json.loads(once) if isinstance(once, str) else once
    except (ValueError, RecursionError):
        return given
    return json.dumps(twice) if isinstance(twice, dict) and twice is not once else given


def _text(value: Any) -> str:
    """Text of a content: of parts their texts, of anything else its JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list):
        return "".join(_text(part) for part in value)
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        return str(value["text"])
    return json.dumps(value, default=str)


def _usage(usage: Any) -> dict[str, Any] | None:
    """The counts of a usage as whole numbers; None where one of them is none."""
    if not isinstance(usage, dict):
        return None
    read, written = token_count(usage.get("prompt_tokens")), token_count(usage.get("completion_tokens"))
    if read is None or written is None:
        return None
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
