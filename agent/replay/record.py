"""All that was recorded of a search, as its replay goes through it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from agent.config.settings import RunConfig
from diffusion.settings import Protocol
from memory.searches import SearchRow
from prompts.origin import origin_of


@dataclass(frozen=True)
class Prompt:
    """A message that a template made, where it was recorded first."""

    call: int
    round: int | None
    template: str
    sha: str
    moment: int | None
    values: dict[str, Any] | None
    text: str


@dataclass(frozen=True)
class Recorded:
    """All that was recorded of a search."""

    search: SearchRow
    config: RunConfig
    protocol: Protocol
    calls: list[dict[str, Any]]
    proposals: list[dict[str, Any]]
    proposed_at: dict[int, int]  # moments, by proposal


def _call(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "extra": json.loads(row["extra_json"] or "{}"),
        "request": json.loads(row["request_json"]),
        "response": None if row["response_json"] is None else json.loads(row["response_json"]),
    }


def prompts_of(calls: Iterable[dict[str, Any]]) -> Iterator[Prompt]:
    """Every prompt of the calls once: a round's first message comes again with each further call."""
    seen = set()
    for call in calls:
        for message in call["request"].get("messages", []):
            if (origin := origin_of(message)) is None:
                continue
            values = origin.get("values")
            text = message["data"]["content"]
            key = (call["round"], origin["template"], origin.get("moment"), json.dumps(values), text)
            if key not in seen:
                seen.add(key)
                yield Prompt(
                    call["id"], call["round"], origin["template"], origin["sha"], origin.get("moment"), values, text
                )
