"""Nothing goes to a tracing endpoint, whatever the environment asks for and whichever command makes a model."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from model_server import Answer, Call, Say, serve
from processes import COMMAND, on_one_core


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """An endpoint of LangSmith's, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def do_PATCH(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.timeout(300)
def test_run_chat_and_doctor_send_nothing(
    tmp_path: Path, listener: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, asked = listener
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "true")
    for name in ("LANGSMITH_ENDPOINT", "LANGCHAIN_ENDPOINT"):
        monkeypatch.setenv(name, endpoint)
    for name in ("LANGSMITH_API_KEY", "LANGCHAIN_API_KEY"):
        monkeypatch.setenv(name, "ls-key")

    def brain(messages: list[dict[str, object]]) -> Answer:
        is_chat = "propose" not in str(messages[-1]["content"]).lower()
        return Say("It is small.") if is_chat else Call("finish_search", {"reason": "Enough."})

    with serve(brain) as server:
        model = ["--llm", "openai:scripted", "--base-url", server.url]
        commands = [
            (["run", "--bench", "unetbench", "--rounds", "1", "--searcher", "llm", "--name", "one", *model], ""),
            (["chat", "one", *model], "Why is it so small?\n"),
            (["doctor", *model, "--set", "llm_timeout_seconds=5"], ""),
        ]
        for arguments, typed in commands:
            before = len(server.requests)
            done = subprocess.run(
                [*COMMAND, *arguments], cwd=tmp_path, input=typed, text=True, capture_output=True, check=False,
                preexec_fn=on_one_core,
            )  # fmt: skip
            assert len(server.requests) > before, done.stderr
    assert asked == []


def test_the_switch_is_off_before_langchain_is_imported() -> None:
    code = "import sys, agent.cli.main; assert not any(m.startswith('langsmith') for m in sys.modules); import os;" + (
        "assert {os.environ[n] for n in agent.backends.untraced.TRACING} == {'false'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": "", "LANGSMITH_TRACING": "true"})
