"""An OpenAI-compatible server on loopback whose answers are scripted, faults included; it keeps every request.

A brain is a function of the request's messages that gives the answer: `Call`, `Say`, `Broken`, `Status` or `Stall`.
A server without tool calling writes its calls as text, as a model does that was told how.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from hostile import Raw

USAGE = {"prompt_tokens": 5000, "completion_tokens": 40, "total_tokens": 5040}
READ, WRITTEN = USAGE["prompt_tokens"], USAGE["completion_tokens"]


@dataclass(frozen=True)
class Call:
    """A tool call."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Say:
    """An answer in words, without a tool call; one with `finish_reason` "length" was cut off."""

    text: str
    finish_reason: str = "stop"


@dataclass(frozen=True)
class Broken:
    """A tool call whose arguments are not JSON."""

    name: str
    arguments: str = '{"spec": {"base_channel": '


@dataclass(frozen=True)
class Status:
    """An HTTP error."""

    code: int
    message: str = "scripted"


@dataclass(frozen=True)
class Stall:
    """Headers and half a body, then silence."""

    seconds: float


Answer = Call | Say | Broken | Status | Stall | Raw
Brain = Callable[[list[dict[str, Any]]], Answer]
Support = Literal["native", "ignored", "rejected"]
RESULT_IN_WORDS = re.compile(r"^(\w+) (?:gave|was refused):\n```\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


@dataclass
class ModelServer:
    """A running server: its address and what it was asked."""

    url: str
    requests: list[dict[str, Any]]
    headers: list[dict[str, str]]
    answers: list[Answer]


@contextmanager
def serve(brain: Brain, tools: Support = "native", response_format: Support = "native") -> Iterator[ModelServer]:
    """Answer on a free port of loopback until the block ends; `tools` and `response_format` say what the server does
    with these parameters of a request.
    """
    support = {"tools": tools, "response_format": response_format}
    server = ModelServer("", [], [], [])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else a body waits 40 ms for the other side to confirm the headers

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.requests.append(body)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            rejected = [name for name, how in support.items() if how == "rejected" and name in body]
            if not self.path.endswith("/chat/completions"):
                answer: Answer = Status(404)
            elif rejected:
                answer = Status(400, f"this model does not support {rejected[0]}")
            else:
                answer = brain(body["messages"])
            server.answers.append(answer)
            if isinstance(answer, Call) and (tools != "native" or "tools" not in body):
                answer = in_words(answer, bare=response_format == "native" and "response_format" in body)
            if isinstance(answer, Status):
                self._send(
                    answer.code, json.dumps({"error": {"message": answer.message, "type": "scripted", "code": None}})
                )
            elif isinstance(answer, Stall):
                self._stall(answer.seconds)
            elif body.get("stream"):
                self._send_events(chunks(completion(body["model"], answer, len(server.requests))))
            else:
                self._send(200, json.dumps(completion(body["model"], answer, len(server.requests))))

        def _send(self, code: int, text: str) -> None:
            data = text.encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _send_events(self, parts: list[dict[str, Any]]) -> None:
            data = "".join(f"data: {text}\n\n" for text in [*map(json.dumps, parts), "[DONE]"]).encode()
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stall(self, seconds: float) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b'{"id": "half of an answ')
            self.wfile.flush()
            time.sleep(seconds)
            self.close_connection = True

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


def completion(model: str, answer: Answer, number: int) -> dict[str, Any]:
    """A chat completion as OpenAI's servers write it."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    if isinstance(answer, Say):
        message["content"] = answer.text
    elif isinstance(answer, Raw):
        message = answer.message
    else:
        assert isinstance(answer, Call | Broken)
        arguments = answer.arguments if isinstance(answer, Broken) else json.dumps(answer.arguments)
        function = {"name": answer.name, "arguments": arguments}
        message["tool_calls"] = [{"id": f"call_{number}", "type": "function", "function": function}]
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": answer.finish_reason if isinstance(answer, Say) else "tool_calls",
            }
        ],
        "usage": answer.usage if isinstance(answer, Raw) else USAGE,
    }


def chunks(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """A chat completion as it is streamed: word by word, then its end, then its usage."""
    common = {name: whole[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    message = whole["choices"][0]["message"]
    calls = [{"index": index, **call} for index, call in enumerate(message.get("tool_calls", []))]
    words = re.findall(r"\S+\s*", message["content"] or "")
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words)]
    deltas += [{"tool_calls": calls}] if calls else []
    parts = [{**common, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    end = {"index": 0, "delta": {}, "finish_reason": whole["choices"][0]["finish_reason"]}
    return [*parts, {**common, "choices": [end]}, {**common, "choices": [], "usage": whole["usage"]}]


def in_words(call: Call, bare: bool) -> Say:
    """A call as text: the bare object, as a schema demands it, or in a fence with some talk around it."""
    text = json.dumps({"tool": call.name, "arguments": call.arguments})
    return Say(text if bare else f"I call a tool now.\n\n```json\n{text}\n```\nIt will surely answer soon.")


def well_behaved(specs: list[str]) -> Brain:
    """Counts and trains one spec after the other, as the prompts ask."""
    left = iter(specs)
    current = [""]

    def brain(messages: list[dict[str, Any]]) -> Answer:
        answers = tool_answers(messages)
        if not answers or not current[0]:  # also when it takes over from another
            current[0] = next(left)
        if not answers:
            return Call("count_flops", {"specs": [current[0]]})
        return Call("train_ract", {"spec": current[0], "reason": f"{current[0]} is next on the list."})

    return brain


def tool_answers(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(tool, answer) of every tool call that was answered, natively or in words, oldest first."""
    in_words = [found for m in messages if m["role"] == "user" for found in RESULT_IN_WORDS.findall(m["content"])]
    if in_words:
        return in_words
    names = {call["id"]: call["function"]["name"] for m in messages for call in m.get("tool_calls") or []}
    return [(names[m["tool_call_id"]], m["content"]) for m in messages if m["role"] == "tool"]
