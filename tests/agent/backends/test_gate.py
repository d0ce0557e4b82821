"""What comes in from a model: bounded, storable, believable; and a search that is served nothing but oddities."""

import json
import random
from pathlib import Path
from typing import Any

import hostile
import pytest
from langchain_core.messages import AIMessage
from model_server import serve
from searches import TinySearch

from agent.backends.gate import (
    CUT,
    LARGEST_INTEGER,
    MOST_CALLS,
    MOST_CHARACTERS,
    MOST_DEPTH,
    admitted,
    is_plausible,
    usage_of,
)
from agent.replay.replay import replay
from memory.connection import opened
from memory.ledger import totals

SPECS = ["b8-n1-m1.1.1.2-a0000", "b8-n1-m1.1.2.2-a0000", "b8-n1-m1.2.1.1-a0000", "b32-n3-m4.4.4.4-a1111", "b9"]


def call(**arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "count_flops", "args": arguments, "id": "1", "type": "tool_call"}])


@pytest.mark.parametrize(
    ("told", "believed"),
    [
        ({"input_tokens": 11, "output_tokens": 7}, (11, 7)),
        ({"input_tokens": 11.4, "output_tokens": 6.6}, (11, 7)),
        ({"input_tokens": 11, "output_tokens": 0}, (11, 0)),
        ({"input_tokens": 0, "output_tokens": 7}, None),
        ({"input_tokens": -1, "output_tokens": 7}, None),
        ({"input_tokens": 11, "output_tokens": -7}, None),
        ({"input_tokens": 2**62, "output_tokens": 7}, None),
        ({"input_tokens": float("nan"), "output_tokens": 7}, None),
        ({"input_tokens": "11", "output_tokens": 7}, None),
        ({"input_tokens": True, "output_tokens": 7}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_rounded_or_unknown(told: dict[str, Any] | None, believed: tuple[int, int] | None) -> None:
    found = usage_of(told)
    assert (found and (found["input_tokens"], found["output_tokens"])) == believed


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (10**30, "an integer of 100 bits"),
        (LARGEST_INTEGER, LARGEST_INTEGER),
        (float("inf"), "inf"),
        ("a\ud800b", "a?b"),
        ("a\0b", "a\ufffdb"),
        ([1, {"x": [2.5, None, True]}], [1, {"x": [2.5, None, True]}]),
    ],
)
def test_arguments_are_values_that_can_be_stored(given: Any, kept: Any) -> None:
    found = admitted(call(specs=given))
    assert found.tool_calls[0]["args"]["specs"] == kept
    assert (CUT in found.response_metadata) is (given != kept)
    json.dumps(found.tool_calls).encode()


def test_sizes_are_bounded_and_what_was_cut_is_said() -> None:
    nested: Any = "x"
    for _ in range(100):
        nested = [nested]
    many = AIMessage("a" * 300_000, tool_calls=[{**call(specs=nested).tool_calls[0], "id": str(n)} for n in range(500)])
    found = admitted(many)
    assert len(found.text) == MOST_CHARACTERS and len(found.tool_calls) == MOST_CALLS
    assert json.dumps(found.tool_calls[0]["args"]).count("[") <= MOST_DEPTH
    assert "held 500 calls, of which the first 16 count" in found.response_metadata[CUT][0]


def test_an_answer_of_good_will_is_as_it_came() -> None:
    message = AIMessage(
        "I count.", id="a", tool_calls=call(specs=["b8-n1-m1.1.1.2-a0000"]).tool_calls,
        usage_metadata={"input_tokens": 11, "output_tokens": 7, "total_tokens": 18},
    )  # fmt: skip
    assert admitted(message) == message


def fuzzed(folder: Path, answers: int, seed: int) -> list[TinySearch]:
    """Searches that are served nothing but odd answers, until it were so many."""
    rng, searches = random.Random(seed), []
    with serve(lambda messages: hostile.answer(rng, SPECS)) as server:
        while len(server.requests) < answers:
            options = {"llm": "openai:hostile", "base_url": server.url, "rounds": 6, "llm_retries": 0}
            searches.append(TinySearch(folder / str(len(searches)), options))
            assert searches[-1].run() in ("rounds", "backend", "finished_by_model", "failures")
    return searches


def check_whole(search: TinySearch) -> None:
    """The memory is sound, its sums are numbers, and nothing that a gate refuses was trained."""
    with opened(search.db, read_only=True) as db:
        ledger = totals(db, search.search)
        assert 0 <= ledger.input_tokens < 10**12
        assert db.conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        specs = {row["spec"] for row in db.query("SELECT spec FROM results")}
    assert "b32-n3-m4.4.4.4-a1111" not in specs
    assert replay(search.db).differences == []
    assert search.db.stat().st_size < 100 * 2**20


def test_searches_live_on_three_hundred_odd_answers(tmp_path: Path) -> None:
    for search in fuzzed(tmp_path, 300, seed=0):
        check_whole(search)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_searches_live_on_ten_thousand_odd_answers(tmp_path: Path) -> None:
    for search in fuzzed(tmp_path, 10_000, seed=1):
        check_whole(search)


@pytest.mark.parametrize(
    ("read", "written", "believed"),
    [(3000, 99, True), (500, 20, True), (30_000, 10**6, True), (100, 99, False), (3000, 1, False), (60_000, 99, False)],
)
def test_usage_is_believed_where_so_many_characters_can_have_so_many_tokens(
    read: int, written: int, believed: bool
) -> None:
    assert is_plausible({"input_tokens": read, "output_tokens": written}, sent=10_000, answered=150) is believed


def test_a_server_that_tells_too_little_is_charged_by_our_own_estimate(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    function = {"name": "count_flops", "arguments": json.dumps({"specs": [SPECS[0]]})}
    asked = {"id": "1", "type": "function", "function": function}
    message = {"role": "assistant", "content": None, "tool_calls": [asked]}
    with serve(lambda messages: hostile.Raw(message, usage)) as server:
        search = TinySearch(tmp_path, {"llm": "openai:mean", "base_url": server.url, "max_tokens": 20_000})
        search.run()
        sent = sum(len(json.dumps(request)) for request in server.requests)
    calls = search.of("llm.call")
    assert all(each["estimated"] for each in calls)
    assert sum(each["input_tokens"] for each in calls) < 20_000
    assert sent / 20 < sum(each["input_tokens"] for each in calls)
