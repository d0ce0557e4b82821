"""The smallest OpenAI-compatible server that a search needs: it answers with tool calls and thinks of nothing.

In each round it counts and trains the next spec of a fixed list. ``python examples/loopback_server.py [PORT]``
listens on this machine alone and prints its address; port 0, the default, takes any that is free.
"""

import json
import re
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SPECS = ["b8-n1-m1.1.1.2-a0000", "b8-n1-m1.1.2.2-a0000", "b8-n1-m1.2.2.2-a0000"]


Call = tuple[str, dict[str, Any]]  # the tool to call, and its arguments


def next_call(messages: list[dict[str, Any]]) -> Call:
    """What to call next: count the next spec of the list, then train it."""
    prompt = next(message["content"] for message in messages if message["role"] == "user")
    match = re.match(r"# Round (\d+)", prompt)
    spec = SPECS[(int(match[1]) - 1 if match else 0) % len(SPECS)]
    answers = [json.loads(message["content"]) for message in messages if message["role"] == "tool"]
    if not answers:
        return "count_flops", {"specs": [spec]}
    return "train_ract", {"spec": spec, "reason": f"Next on the list, at {answers[-1][0]['share_of_budget']:.0%}."}


def completion(request: dict[str, Any], choose: Callable[[list[dict[str, Any]]], Call]) -> dict[str, Any]:
    """An answer in the shape of OpenAI's chat completions."""
    tool, arguments = choose(request["messages"])
    function = {"name": tool, "arguments": json.dumps(arguments)}
    call = {"id": f"call_{len(request['messages'])}", "type": "function", "function": function}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


class Handler(BaseHTTPRequestHandler):
    """POST /v1/chat/completions."""

    choose = staticmethod(next_call)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = json.dumps(completion(body, self.choose)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def make_server(port: int = 0, choose: Callable[[list[dict[str, Any]]], Call] = next_call) -> ThreadingHTTPServer:
    """A server that is ready to `serve_forever`, and answers as `choose` says."""
    return ThreadingHTTPServer(("127.0.0.1", port), type("Chosen", (Handler,), {"choose": staticmethod(choose)}))


if __name__ == "__main__":
    server = make_server(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
    server.serve_forever()
