"""Finds the tool call in what a model wrote: a fenced JSON object, a bare one, or one with the usual slips, mended.

Text is data: it is parsed, never run. `json_repair` mends it, and a mend may change marks alone: one that adds, drops
or changes a word is none, so that no call is made of what the model did not say. What a call means is not judged here.
"""

import json
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any

from json_repair import repair_json

THINKING = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.DOTALL | re.IGNORECASE)
FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
NAME_KEYS = ("tool", "name", "tool_name", "function", "action")
ARGUMENT_KEYS = ("arguments", "args", "parameters", "params", "input", "action_input")
MOST_CHARACTERS = 100_000  # of an answer that are looked at
MOST_MENDED = 8_000  # characters of an object that is mended: many times a call; of nested bare words these take 1.3 s
MOST_OBJECTS = 50  # that are tried


@dataclass(frozen=True)
class Found:
    """A call in a text: what stands before it, and its arguments, or None where they cannot be read."""

    tool: str
    arguments: dict[str, Any] | None
    before: str
    raw: str


def call_in(text: str, tools: Set[str]) -> Found | None:
    """The first call of one of the tools; else the first object that names a tool which does not exist; else a call of
    a known tool that cannot be read; else None.
    """
    text = THINKING.sub("", text[:MOST_CHARACTERS]).rpartition("</think>")[2]
    strangers = []
    for place, raw in _objects(text):
        value = parsed(raw)
        call = as_call(value, tools) if isinstance(value, dict) else None
        if call is None:
            continue
        found = Found(*call, before=_prose(text[:place]), raw=raw)
        if found.tool in tools:
            return found
        strangers.append(found)
    return strangers[0] if strangers else _broken(text, tools)


def parsed(text: str) -> Any:
    """The value of a JSON text, the usual slips mended; None if there is none, or a mend would change what it says."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        value = repair_json(text, return_objects=True, strict=True) if len(text) <= MOST_MENDED else None
    except (ValueError, RecursionError):
        return None
    return value if _words(json.dumps(value, ensure_ascii=False)) == _words(text) else None


def _words(text: str) -> list[str]:
    """What a JSON text says, without its marks; Python's None is JSON's null."""
    return re.findall(r"\w+", text.lower().replace("none", "null"))


def as_call(value: dict[str, Any], tools: Set[str]) -> tuple[str, dict[str, Any] | None] | None:
    """(tool, arguments) of an object in any of the shapes that models write; None if it is no call."""
    if isinstance(value.get("function"), dict):
        return as_call(value["function"], tools)
    for wrapper in ("tool_call", "call"):
        if isinstance(value.get(wrapper), dict):
            return as_call(value[wrapper], tools)
    if isinstance(calls := value.get("tool_calls"), list) and calls and isinstance(calls[0], dict):
        return as_call(calls[0], tools)
    if len(value) == 1 and (only := next(iter(value))) in tools:
        return only, _arguments(value[only])
    name = next((value[key] for key in NAME_KEYS if isinstance(value.get(key), str)), None)
    if name is None:
        return None
    key = next((key for key in ARGUMENT_KEYS if key in value), None)
    if key is not None:
        return name, _arguments(value[key])
    rest = {key: part for key, part in value.items() if key not in NAME_KEYS}
    return (name, rest) if name in tools else None


def _arguments(value: Any) -> dict[str, Any] | None:
    """Arguments as an object; some models write the object as a string."""
    value = parsed(value) if isinstance(value, str) else value
    return value if isinstance(value, dict) else ({} if value is None else None)


def _objects(text: str) -> Iterator[tuple[int, str]]:
    """Where objects may stand: in fences, in tags, and anywhere."""
    tried = 0
    for pattern in (FENCE, TAGGED):
        for match in pattern.finditer(text):
            if "{" in match[1]:
                yield match.start(), match[1][match[1].index("{") :].strip()
    place = text.find("{")
    while place >= 0 and tried < MOST_OBJECTS:
        end = _end(text, place)
        yield place, text[place:end]
        tried += 1
        place = text.find("{", end if end < len(text) else place + 1)


def _end(text: str, start: int) -> int:
    """Just behind the bracket that closes the one at `start`, or the end of the text."""
    depth, in_string, escaped = 0, False, False
    for place in range(start, len(text)):
        character = text[place]
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        else:
            depth += (character == "{") - (character == "}")
            if depth == 0:
                return place + 1
    return len(text)


def _broken(text: str, tools: Set[str]) -> Found | None:
    """A call of a known tool whose object cannot be read."""
    keys = "|".join(NAME_KEYS)
    match = re.search(rf"\{{[^{{}}]*[\"']?(?:{keys})[\"']?\s*:\s*[\"']?(\w+)", text)
    if match is None or match[1] not in tools:
        return None
    return Found(match[1], None, _prose(text[: match.start()]), text[match.start() :])


def _prose(text: str) -> str:
    """What was said before a call, without an opened fence or tag."""
    return re.sub(r"(```[\w-]*|<tool_call>)\s*\Z", "", text).strip()
