"""An OpenAI-compatible server on loopback whose answers are scripted, faults included; it keeps every request.

A brain is a function of the request's messages that gives the answer: `Call`, `Say`, `Broken`, `Status` or `Stall`.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


@dataclass(frozen=True)
class Call:
    """A tool call."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Say:
    """An answer in words, without a tool call."""

    text: str


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


Answer = Call | Say | Broken | Status | Stall
Brain = Callable[[list[dict[str, Any]]], Answer]


@dataclass
class ModelServer:
    """A running server: its address and what it was asked."""

    url: str
    requests: list[dict[str, Any]]
    headers: list[dict[str, str]]
    answers: list[Answer]


@contextmanager
def serve(brain: Brain) -> Iterator[ModelServer]:
    """Answer on a free port of loopback until the block ends."""
    server = ModelServer("", [], [], [])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.requests.append(body)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = brain(body["messages"]) if self.path.endswith("/chat/completions") else Status(404)
            server.answers.append(answer)
            if isinstance(answer, Status):
                self._send(
                    answer.code, json.dumps({"error": {"message": answer.message, "type": "scripted", "code": None}})
                )
            elif isinstance(answer, Stall):
                self._stall(answer.seconds)
            else:
                self._send(200, json.dumps(completion(body["model"], answer, len(server.requests))))

        def _send(self, code: int, text: str) -> None:
            data = text.encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
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
            {"index": 0, "message": message, "finish_reason": "stop" if isinstance(answer, Say) else "tool_calls"}
        ],
        "usage": USAGE,
    }


def tool_answers(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(tool, answer) of every tool call that was answered, oldest first."""
    names = {call["id"]: call["function"]["name"] for m in messages for call in m.get("tool_calls") or []}
    return [(names[m["tool_call_id"]], m["content"]) for m in messages if m["role"] == "tool"]
