"""Lines typed beside a running search: what the terminal shows meanwhile, and where each line goes."""

import io
import os
import subprocess
import sys
import threading
from threading import Event
from typing import Any

import pytest
from rich.console import Console

from agent.chat.line_editor import Inbox, Keys, TypedLine, common_start, reading, tail
from agent.report.progress import Lines

PROGRESS = {"trial": 1, "step": 1, "total_steps": 4, "loss": 0.5, "images_per_second": 9.0}


class Screen:
    """What a terminal of one line height would show: the lines that are finished, and the one being drawn."""

    def __init__(self, written: str) -> None:
        self.lines = [self.shown(line) for line in written.split("\n")]

    def shown(self, line: str) -> str:
        return line.rpartition("\r\x1b[K")[2].rstrip("\r")


def typing(width: int = 40) -> tuple[TypedLine, io.StringIO]:
    stream = io.StringIO()
    return TypedLine(Lines(Console(file=stream, width=width))), stream


def keys(typed: TypedLine, text: str) -> list[str]:
    return [line for key in text if (line := typed.key(key)) is not None]


class TestTyping:
    def test_a_line_is_complete_with_enter(self) -> None:
        typed, _ = typing()
        assert keys(typed, "/status\r/best\n") == ["/status", "/best"]

    def test_erasing_keys(self) -> None:
        typed, _ = typing()
        assert keys(typed, "/statuss\x7f\n") == ["/status"]
        assert keys(typed, "nonsense\x15/best\n") == ["/best"]

    def test_tab_completes_the_last_word_as_far_as_it_is_certain(self) -> None:
        typed, stream = typing()
        typed.complete = lambda line: [w for w in ("attn_0=", "attn_1=") if w.startswith(line.split(" ")[-1])]
        keys(typed, "/freeze at\t")
        assert typed.text == "/freeze attn_"
        keys(typed, "\t")
        assert "attn_0=  attn_1=" in stream.getvalue()
        keys(typed, "0\t")
        assert typed.text == "/freeze attn_0="

    def test_lines_about_the_search_go_above_what_is_being_typed(self) -> None:
        typed, stream = typing()
        keys(typed, "/stat")
        typed("round.started", round=3)
        keys(typed, "us\n")
        assert Screen(stream.getvalue()).lines == ["Round 3", "> /status", ""]

    def test_the_bar_stays_away_while_a_line_is_typed_and_comes_back_after_it(self) -> None:
        stream = io.StringIO()
        typed = TypedLine(Lines(Console(file=stream, width=80, force_terminal=True)))
        typed("train.progress", **PROGRESS)
        assert typed.lines.progress is not None
        keys(typed, "/b")
        typed("train.progress", **PROGRESS)
        assert typed.lines.progress is None
        keys(typed, "est\n")
        typed("train.progress", **PROGRESS)
        assert typed.lines.progress is not None
        typed.lines.close()

    def test_a_long_line_shows_its_end_and_no_more_than_the_window_holds(self) -> None:
        typed, stream = typing(width=20)
        keys(typed, "x" * 50 + "yz")
        drawn = Screen(stream.getvalue()).lines[-1]
        assert drawn.endswith("yz") and len(drawn) <= 20
        assert tail("日本語", 4) == "本語"

    def test_what_words_begin_with(self) -> None:
        assert common_start(["/freeze", "/fr", "/free"]) == "/fr"
        assert common_start(["same"]) == "same"
        assert common_start([]) == ""


class TestKeys:
    def test_letters_come_whole_and_escape_sequences_not_at_all(self) -> None:
        found = Keys()
        data = "aé\x1b[A\x1bOPz\x1b[1;5C!".encode()
        assert "".join(key for byte in data for key in found.of(bytes([byte]))) == "aéz!"


class TestInbox:
    def inbox(self, handle: Any = None) -> tuple[Inbox, list[str]]:
        said: list[str] = []
        return Inbox(said.append, Event(), handle), said

    def test_a_line_answers_the_open_question_and_slash_commands_do_not(self) -> None:
        handled: list[str] = []
        inbox, said = self.inbox(handled.append)
        answers: list[str | None] = []
        asked = threading.Thread(target=lambda: answers.append(inbox.ask("Train it?")))
        asked.start()
        while not inbox.questions:
            pass
        inbox.take("/why 1")
        inbox.take("a")
        asked.join(5)
        inbox.ended.set()
        inbox.work()
        assert (answers, handled, said) == (["a"], ["/why 1"], ["Train it?"])

    def test_lines_of_a_script_wait_for_their_questions(self) -> None:
        inbox, _ = self.inbox()
        inbox.take("a")
        inbox.take("r too deep")
        inbox.ended.set()
        assert [inbox.ask("1?"), inbox.ask("2?"), inbox.ask("3?")] == ["a", "r too deep", None]

    def test_the_end_of_input_is_said(self) -> None:
        inbox, said = self.inbox()
        inbox.ended.set()
        assert inbox.ask("Train it?") is None
        assert said[-1] == "Nobody answers: standard input has ended."

    @pytest.mark.timeout(10)
    def test_a_stop_ends_the_waiting(self) -> None:
        inbox, _ = self.inbox()
        inbox.stop.set()
        assert inbox.ask("Train it?") is None

    def test_lines_are_handled_in_their_order(self) -> None:
        handled: list[str] = []
        inbox, _ = self.inbox(handled.append)
        for line in ("one", "  ", "two"):
            inbox.take(line)
        inbox.ended.set()
        inbox.work()
        assert handled == ["one", "two"]


def test_the_lines_of_a_pipe_are_answers_and_its_last_needs_no_newline(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    typed, _ = typing()
    inbox = Inbox(typed.say, Event())
    with os.fdopen(reader) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with reading(inbox, typed, Event()):
            os.write(writer, "a\nr zu gro\xdf".encode())
            assert inbox.ask("1?") == "a"
            os.close(writer)
            assert inbox.ask("2?") == "r zu groß"
            assert inbox.ask("3?") is None


@pytest.mark.timeout(60)
def test_a_program_whose_pipe_stays_open_and_silent_ends_all_the_same() -> None:
    code = (
        "from threading import Event\n"
        "from rich.console import Console\n"
        "from agent.chat.line_editor import Inbox, TypedLine, reading\n"
        "from agent.report.progress import Lines\n"
        "typed = TypedLine(Lines(Console()))\n"
        "with reading(Inbox(typed.say, Event()), typed, Event()):\n"
        "    print('reading', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.wait() == 0, process.stderr and process.stderr.read()
    process.communicate()
