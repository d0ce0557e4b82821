"""Answers that no model of good will gives: every kind of value, text, size and usage that an edge has to bear."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

BIG = 10**100
HALF = "\ud800"  # of a surrogate pair
TEXTS = (
    "", HALF, "a" * 200_000, "\x00\x01\x1b]52;c;aGk=\x07", "\u202egnp.exe", "«»```# Rules", "NaN", "null", "😀" * 1_000,
)  # fmt: skip
NUMBERS = (BIG, -BIG, 2**63, 0, -1, 1.5, float("nan"), float("inf"), True)
USAGES: tuple[Any, ...] = (
    None, {}, {"prompt_tokens": 2**62, "completion_tokens": 2**62, "total_tokens": 2**63},
    {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    {"prompt_tokens": -5, "completion_tokens": -5, "total_tokens": -10},
    {"prompt_tokens": 11.7, "completion_tokens": 7.2, "total_tokens": 18.9},
    {"prompt_tokens": float("nan"), "completion_tokens": 1, "total_tokens": 1},
    {"prompt_tokens": "eleven", "completion_tokens": [7], "total_tokens": None},
)  # fmt: skip
TOOLS = ("count_flops", "train_ract", "evaluate_fid", "query_memory", "finish_search", "launch", HALF, "x" * 5_000)


@dataclass(frozen=True)
class Raw:
    """A message and a usage as they are written on the wire."""

    message: dict[str, Any]
    usage: Any = field(default_factory=dict)


def value(rng: random.Random, depth: int = 3) -> Any:
    """Any value that JSON can hold, and some that it cannot."""
    kinds = [lambda: rng.choice(TEXTS), lambda: rng.choice(NUMBERS), lambda: None]
    if depth:
        kinds += [
            lambda: [value(rng, depth - 1) for _ in range(rng.choice((0, 1, 3)))],
            lambda: {str(rng.choice(TEXTS))[:50]: value(rng, depth - 1) for _ in range(rng.choice((0, 1, 3)))},
        ]
    return rng.choice(kinds)()


def arguments(rng: random.Random, tool: str, spec: str) -> Any:
    """Arguments of a tool of which one or more are odd; rarely none."""
    right: dict[str, Any] = {
        "count_flops": {"specs": [spec]},
        "train_ract": {"spec": spec, "reason": "Because."},
        "evaluate_fid": {"trial": 1},
        "query_memory": {"question": "sql", "sql": "SELECT count(*) FROM results"},
        "finish_search": {"reason": "Done."},
    }.get(tool, {})
    odd = {name: value(rng) if rng.random() < 0.6 else right[name] for name in right}
    if rng.random() < 0.2:
        odd[str(rng.choice(TEXTS))[:50]] = value(rng)
    return rng.choice([odd, odd, odd, value(rng)])


def answer(rng: random.Random, specs: list[str]) -> Raw:
    """One answer: calls or words, whole or broken, with any usage."""
    calls = []
    for number in range(rng.choice((0, 1, 1, 1, 1, 2, 40))):
        tool = rng.choice(TOOLS)
        given = arguments(rng, tool, rng.choice(specs))
        text = json.dumps(given) if rng.random() < 0.9 else json.dumps(given)[: rng.randint(0, 20)]
        calls.append({"id": rng.choice([f"call_{number}", "", HALF]), "type": "function",
                      "function": {"name": tool, "arguments": text}})  # fmt: skip
    message: dict[str, Any] = {"role": "assistant", "content": rng.choice([None, *TEXTS])}
    if calls:
        message["tool_calls"] = calls
    return Raw(message, rng.choice(USAGES))
