"""The gate through which every answer of a model comes in: what follows can trust its sizes, its numbers and its text.

A server is nobody's friend: its integers may have a hundred digits, its text half a surrogate pair, its usage any value
or none, and one answer may hold five hundred calls. What is cut or replaced here is noted with the answer, said to the
model as a refusal, and nothing else is changed. What an answer means is not looked at.
"""

import math
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage

MOST_CHARACTERS = 100_000  # of a text
MOST_ARGUMENT_CHARACTERS = 20_000  # of a text in an argument
MOST_NAME_CHARACTERS = 100
MOST_CALLS = 16  # of one answer; none of our tools is worth more of them at once
MOST_ITEMS, MOST_DEPTH = 1_000, 20  # of an argument
LARGEST_INTEGER = 2**63 - 1  # that SQLite and a serialiser hold
MOST_TOKENS = 100_000_000  # of one call: more is no count
CHARACTERS_PER_TOKEN, TOKENS_PER_CHARACTER = 20, 4  # at most, of a whole message
OVERHEAD_TOKENS = 10_000  # that a server may add to what it is sent
CUT = "cut"  # where an answer carries what was cut


def admitted(message: AIMessage) -> AIMessage:
    """An answer with bounded text, calls and numbers; what was cut stands in its metadata under `CUT`."""
    notes: list[str] = []
    calls = message.tool_calls
    if len(calls) > MOST_CALLS:
        notes.append(f"your answer held {len(calls)} calls, of which the first {MOST_CALLS} count")
    content = message.content if isinstance(message.content, str) else message.text
    return AIMessage(
        _text(str(content), MOST_CHARACTERS, "its text", notes),
        id=None if message.id is None else _text(str(message.id), MOST_NAME_CHARACTERS, "its id", notes),
        tool_calls=[_call(dict(call), notes) for call in calls[:MOST_CALLS]],
        invalid_tool_calls=[_broken(dict(call), notes) for call in message.invalid_tool_calls[:MOST_CALLS]],
        usage_metadata=None,
        response_metadata=_metadata(message) | ({CUT: notes} if notes else {}),
        additional_kwargs={},
    ).model_copy(update={"usage_metadata": usage_of(message.usage_metadata)})


def usage_of(told: Mapping[str, Any] | None) -> dict[str, int] | None:
    """How many tokens were read and written, where the server tells believable numbers; None where it does not.

    No prompt of ours is empty, so that none read at all are not believed either: then our own estimate counts.
    """
    if told is None:
        return None
    read, written = token_count(told.get("input_tokens")), token_count(told.get("output_tokens"))
    if not read or written is None:
        return None
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


def is_plausible(usage: Mapping[str, int], sent: int, answered: int) -> bool:
    """Whether so many tokens can have been read and written for so many characters.

    A token of ordinary text has three or four characters, and never twenty on average; what a model thinks to itself is
    written, too, so that there is no most for an answer.
    """
    fits = sent / CHARACTERS_PER_TOKEN <= usage["input_tokens"] <= sent * TOKENS_PER_CHARACTER + OVERHEAD_TOKENS
    return fits and usage["output_tokens"] >= answered / CHARACTERS_PER_TOKEN


def token_count(value: Any) -> int | None:
    """A number of tokens as a server told it, rounded; None of what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return round(value) if 0 <= value <= MOST_TOKENS else None


def _metadata(message: AIMessage) -> dict[str, Any]:
    """What is read of an answer later: why it ended, and which model gave it."""
    known = {name: message.response_metadata.get(name) for name in ("finish_reason", "model_name")}
    return {name: _plain(str(value))[:MOST_NAME_CHARACTERS] for name, value in known.items() if value is not None}


def _call(call: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    return {
        "name": _text(str(call.get("name")), MOST_NAME_CHARACTERS, "the name of a tool", notes),
        "args": _value(call.get("args") or {}, notes, MOST_DEPTH),
        "id": None if call.get("id") is None else _text(str(call["id"]), MOST_NAME_CHARACTERS, "an id", notes),
        "type": "tool_call",
    }


def _broken(call: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """A call whose arguments are not JSON."""
    cut = {name: _text(str(call.get(name) or ""), MOST_NAME_CHARACTERS, name, notes) for name in ("name", "id")}
    args = _text(str(call.get("args") or ""), MOST_ARGUMENT_CHARACTERS, "its arguments", notes)
    return {**cut, "args": args, "error": None, "type": "invalid_tool_call"}


def _value(value: Any, notes: list[str], depth: int) -> Any:
    """An argument in values that JSON, SQLite and a serialiser hold."""
    if depth == 0:
        notes.append(f"an argument was nested deeper than {MOST_DEPTH}, which was left out")
        return None
    if isinstance(value, dict):
        items = list(value.items())[:MOST_ITEMS]
        return {_text(str(k), MOST_NAME_CHARACTERS, "a name", notes): _value(v, notes, depth - 1) for k, v in items}
    if isinstance(value, list | tuple):
        if len(value) > MOST_ITEMS:
            notes.append(f"a list of {len(value)} was cut to {MOST_ITEMS}")
        return [_value(each, notes, depth - 1) for each in value[:MOST_ITEMS]]
    if isinstance(value, str):
        return _text(value, MOST_ARGUMENT_CHARACTERS, "an argument", notes)
    return _number(value, notes)


def _number(value: Any, notes: list[str]) -> Any:
    """A number as it is, or as text where no column holds it: the schema says then what would be right."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        notes.append("a number had more than 64 bits")
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, float) and not math.isfinite(value):
        notes.append(f"{value} is no number that can be stored")
        return str(value)
    return value


def _text(text: str, most: int, what: str, notes: list[str]) -> str:
    plain = _plain(text)
    if plain != text:
        notes.append(f"{what} held characters that are none, which were replaced")
    if len(plain) <= most:
        return plain
    notes.append(f"{what} had {len(plain):,} characters, of which the first {most:,} count")
    return plain[:most]


def _plain(text: str) -> str:
    """Text that UTF-8 can hold, without NUL."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd") if _is_odd(text) else text


def _is_odd(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return "\0" in text
