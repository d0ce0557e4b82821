"""What a search made of each recorded answer of a model before any gate was asked: read again, beside the record."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, messages_from_dict
from langchain_core.tools import BaseTool

from agent.backends.repair import problems_of, wrong_arguments
from agent.backends.structured import read
from agent.replay.record import ModelCall
from memory.redaction import redact

UNREADABLE = ("malformed", "cut", "unknown_tool", "no_tool_call", "empty_answer", "arguments")
"""Refusals of what is no call that a tool takes."""

Objection = tuple[str, str]  # (kind, sentence)


def taken_by_round(calls: Sequence[ModelCall], *, is_over: bool) -> Iterator[tuple[int, list[ModelCall]]]:
    """Each round with the answered calls that the search went on with, in order.

    A process that is killed between an answer and its checkpoint asks again, so an answer counts if a later call of the
    round carries it, or if it is the last of a round that others followed or with which the search ended.
    """
    by_round: dict[int, list[ModelCall]] = {}
    for call in calls:
        if call.purpose == "propose" and call.round is not None:
            by_round.setdefault(call.round, []).append(call)
    for number, mine in sorted(by_round.items()):
        answered = [call for call in mine if call.response is not None]
        carried = {_identity(message) for call in mine for message in call.request.get("messages", [])}
        last = answered[-1:] if is_over or number < max(by_round) else []
        yield number, [call for call in answered if call in last or _identity(call.response) in carried]


def objections(call: ModelCall, tools: Mapping[str, BaseTool]) -> list[Objection]:
    """What today's reader finds wrong with an answer, in the order in which it would be refused."""
    assert call.response is not None, "an answered call"
    (message,) = messages_from_dict([call.response])
    assert isinstance(message, AIMessage), "a model's answer"
    message = read(message, list(tools.values()), 0)
    found = [(kind, redact(sentence)) for kind, sentence, _ in problems_of(message, tools)]
    for asked in message.tool_calls:
        if asked["name"] in tools and (sentence := wrong_arguments(tools[asked["name"]], asked["args"])):
            found.append(("arguments", redact(sentence)))
    return found


def changed(before: Sequence[Objection], now: Sequence[Objection]) -> list[tuple[Objection | None, Objection | None]]:
    """The objections of a round that are on one side alone, paired by their kinds: (recorded, now)."""
    gone, new = Counter(before) - Counter(now), Counter(now) - Counter(before)
    pairs: list[tuple[Objection | None, Objection | None]] = []
    arrived = list(new.elements())
    for old in gone.elements():
        other = next((each for each in arrived if each[0] == old[0]), None)
        if other is not None:
            arrived.remove(other)
        pairs.append((old, other))
    return [*pairs, *((None, each) for each in arrived)]


def _identity(message: dict[str, Any] | None) -> str | None:
    found: str | None = message.get("data", {}).get("id") if message and message.get("type") == "ai" else None
    return found
