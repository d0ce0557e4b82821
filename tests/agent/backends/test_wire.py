"""Answers in shapes that only resemble OpenAI's: read where what is meant is plain, else an answer with a fault."""

import json
from pathlib import Path
from typing import Any

import pytest
from hostile import Raw
from model_server import Call, serve
from searches import TinySearch

from agent.backends.asking import Asking
from agent.backends.chain import Chain
from agent.backends.registry import Address, Backend, make_model
from agent.backends.repair import check_arguments
from agent.searchers.model.proposer import TOOLS
from diffusion.spec import UNetSpec
from tools.count_flops import count_flops

A = "b8-n1-m1.1.1.2-a0000"
RIGHT = {"spec": A, "reason": "x"}
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def called(arguments: Any, **more: Any) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "train_ract", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call], **more}


def read(message: dict[str, Any], usage: Any = USAGE) -> Any:
    """One exchange with a server that answers with this message."""
    with serve(lambda messages: Raw(message, usage)) as server:
        model = make_model("openai:scripted", base_url=server.url, timeout_seconds=5.0)
        backend = Backend(Address("openai:scripted", server.url), model)
        return Asking(Chain([backend]), TOOLS).exchange(backend, "tools", [])


@pytest.mark.parametrize(
    "message",
    [
        called(json.dumps(RIGHT)),
        called(json.dumps(json.dumps(RIGHT))),
        called(RIGHT),
        {"role": "assistant", "function_call": {"name": "train_ract", "arguments": json.dumps(RIGHT)}},
        called(json.dumps(RIGHT), content={"text": "I train."}),
        called(json.dumps(RIGHT), content=[{"type": "text", "text": "I train."}]),
        {"tool_calls": [{"name": "train_ract", "arguments": RIGHT}]},
    ],
    ids=["as usual", "encoded twice", "an object", "function_call", "content object", "content list", "flat"],
)
def test_what_is_meant_is_read(message: dict[str, Any]) -> None:
    (call,) = read(message).tool_calls
    assert (call["name"], call["args"]) == ("train_ract", RIGHT)


@pytest.mark.parametrize("message", [{}, {"content": 5}, {"content": None, "tool_calls": 7}, called("{broken")])
def test_what_is_not_plain_is_an_answer_without_a_call(message: dict[str, Any]) -> None:
    assert read(message).tool_calls == []


@pytest.mark.parametrize("usage", [None, [], "many", {"prompt_tokens": "x"}, {"prompt_tokens": float("nan")}])
def test_usage_in_another_shape_is_none(usage: Any) -> None:
    assert read(called(json.dumps(RIGHT)), usage).usage_metadata is None


def test_an_odd_answer_costs_a_repair_and_not_the_round(tmp_path: Path) -> None:
    answers: Any = iter([Raw({"content": {"no": "text"}}, USAGE), Raw({}, None), Call("train_ract", RIGHT)])
    with serve(lambda messages: next(answers)) as server:
        search = TinySearch(tmp_path, {"llm": "openai:scripted", "base_url": server.url, "rounds": 1})
        assert search.run() == "rounds"
    assert search.rows("SELECT proposer, spec FROM results WHERE round = 1") == [
        {"proposer": "openai:scripted", "spec": A}
    ]
    assert not search.of("fallback")


def test_arguments_that_are_text_of_what_is_meant_are_read() -> None:
    numbers = UNetSpec.parse(A).model_dump(mode="json")
    for given in (A, json.dumps(A), json.dumps(numbers), json.dumps(json.dumps(numbers))):
        assert UNetSpec.parse(given) == UNetSpec.parse(A)
    for listed in (json.dumps([A]), [json.dumps(A)], json.dumps([numbers])):
        assert check_arguments(count_flops, {"specs": listed}).specs == [UNetSpec.parse(A)]
