"""What is typed before a question is asked is no answer to it."""

import io
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from agent.chat.window.terminal import TerminalInput, typed_ahead


@pytest.fixture
def keys() -> Iterator[Any]:
    with create_pipe_input() as found, create_app_session(input=found, output=DummyOutput()):
        yield found


def test_what_a_terminal_holds_is_taken_once(keys: Any) -> None:
    keys.send_text("one\ntwo")
    assert (typed_ahead(keys), typed_ahead(keys)) == ("one\ntwo", "")


def test_lines_that_were_typed_early_are_the_next_lines_and_not_the_answer(keys: Any, tmp_path: Path) -> None:
    lines = TerminalInput(Console(file=io.StringIO()), tmp_path / "history")
    keys.send_text("first\rsecond\rthird")  # pasted at once: the prompt that reads the first leaves the others over
    assert lines.line() == "first"

    later = Timer(0.5, keys.send_text, ["yes\r"])  # the answer comes after the question
    later.start()
    assert lines.answer("Give it? ") == "yes"
    assert lines.line() == "second"
    keys.send_text("\r")
    assert lines.line() == "third"
