"""Lines typed beside a running search: what the keys do, and where each line goes."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from agent.chat.window.inbox import Inbox, prompting, reading
from agent.chat.window.terminal import prompt_session
from agent.report.progress import Lines

PROGRESS = {"trial": 1, "step": 1, "total_steps": 4, "loss": 0.5, "images_per_second": 9.0}
LEFT, UP, ERASE, KILL_LINE, CTRL_C, CTRL_D = "\x1b[D", "\x1b[A", "\x7f", "\x15", "\x03", "\x04"
SECRET = "sk-planted-0123456789abcdef"  # a key that no provider ever gave out


def until(happened: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


class Typist:
    """Somebody at the prompt of a running search."""

    def __init__(self, folder: Path, complete: Callable[[str], list[str]] = lambda line: []) -> None:
        self.history, self.complete = folder / "history", complete
        self.lines, self.handled = Lines(Console(file=io.StringIO(), width=80, force_terminal=True)), list[str]()
        self.inbox = Inbox(lambda text: None, Event(), self.handled.append)

    @contextmanager
    def typing(self) -> Iterator[Callable[[str], None]]:
        def make(**options: Any) -> Any:
            self.session = prompt_session(self.lines.console, self.history, self.complete, **options)
            return self.session

        with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
            worker = threading.Thread(target=self.inbox.work)
            worker.start()
            try:
                with prompting(self.inbox, self.lines, make):
                    yield keyboard.send_text
            finally:
                self.inbox.ended.set()
                worker.join()

    def typed(self) -> str:
        """What stands at the prompt."""
        return str(self.session.default_buffer.text)

    def types(self, keys: str, lines: int = 1) -> list[str]:
        """The lines that the keys complete."""
        with self.typing() as press:
            press(keys)
            until(lambda: len(self.handled) >= lines)
        return self.handled


class TestTyping:
    def test_a_line_is_complete_with_enter(self, tmp_path: Path) -> None:
        assert Typist(tmp_path).types("/status\r/best\n", 2) == ["/status", "/best"]

    def test_erasing_keys_and_wide_characters(self, tmp_path: Path) -> None:
        assert Typist(tmp_path).types(f"/statuss{ERASE}\r") == ["/status"]
        assert Typist(tmp_path).types(f"nonsense{KILL_LINE}日本語{ERASE}é\r") == ["日本é"]

    def test_arrow_keys_edit_a_line_and_bring_an_earlier_one_back(self, tmp_path: Path) -> None:
        assert Typist(tmp_path).types(f"/stus{LEFT}{LEFT}at\r") == ["/status"]
        another_day = Typist(tmp_path)
        with another_day.typing() as press:
            while another_day.typed() != "/status":  # it is read in the background
                press(UP)
                time.sleep(0.01)
            press("\r")
            until(lambda: another_day.handled == ["/status"])

    def test_tab_completes_the_last_word_as_far_as_it_is_certain(self, tmp_path: Path) -> None:
        words = ["attn_0=", "attn_1="]
        typist = Typist(tmp_path, lambda line: [word for word in words if word.startswith(line.split(" ")[-1])])
        with typist.typing() as press:
            press("/freeze at\t")
            until(lambda: typist.typed() == "/freeze attn_")
            press("0\t")
            until(lambda: typist.typed() == "/freeze attn_0=")

    def test_pasted_lines_are_lines(self, tmp_path: Path) -> None:
        assert Typist(tmp_path).types("\x1b[200~/pause\n/status\x1b[201~\r", 2) == ["/pause", "/status"]

    def test_ctrl_d_does_not_take_the_prompt_away(self, tmp_path: Path) -> None:
        assert Typist(tmp_path).types(f"{CTRL_D}/status\r") == ["/status"]

    def test_ctrl_c_is_the_signal_that_it_is_without_a_prompt(self, tmp_path: Path) -> None:
        interrupts: list[int] = []
        before = signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
        try:
            with Typist(tmp_path).typing() as press:
                press(f"half a line{CTRL_C}")
                until(lambda: interrupts)
        finally:
            signal.signal(signal.SIGINT, before)
        assert interrupts == [signal.SIGINT]

    def test_the_history_holds_no_secret_and_no_answer(self, tmp_path: Path) -> None:
        typist = Typist(tmp_path)
        with typist.typing() as press:
            asked = threading.Thread(target=typist.inbox.ask, args=("Train it?",))
            asked.start()
            until(lambda: typist.inbox.questions)
            press(f"/status\rmine\rmy key is {SECRET}\r")
            until(lambda: len(typist.handled) == 2)
            asked.join()
        kept = re.findall(r"^\+(.*)$", typist.history.read_text(), re.MULTILINE)
        assert kept[0] == "/status" and kept[1].startswith("my key is ") and len(kept) == 2
        assert SECRET not in kept[1]
        assert typist.history.stat().st_mode & 0o077 == 0


class TestBar:
    def test_it_is_drawn_below_the_prompt_while_there_is_one(self, tmp_path: Path) -> None:
        typist = Typist(tmp_path)
        with typist.typing():
            typist.lines("train.progress", **PROGRESS)
            assert "training, loss 0.5" in typist.lines.bars_as_text()
            assert typist.lines.progress is not None and not typist.lines.progress.live.is_started
            typist.lines.close()
            assert typist.lines.bars_as_text() == ""
        typist.lines("train.progress", **PROGRESS)
        assert typist.lines.progress.live.is_started
        typist.lines.close()


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
        until(lambda: inbox.questions)
        inbox.take("/why 1")
        inbox.take("a")
        asked.join(5)
        inbox.ended.set()
        inbox.work()
        assert (answers, handled, said) == (["a"], ["/why 1"], ["Train it?"])

    def test_the_line_after_an_answer_is_no_answer_however_soon_it_comes(self) -> None:
        handled: list[str] = []
        inbox, _ = self.inbox(handled.append)
        inbox.say = lambda question: [inbox.take(line) for line in ("yes", "what is best?")] and None
        assert inbox.ask("Train it?") == "yes"  # both were typed before anybody looked
        inbox.ended.set()
        inbox.work()
        assert handled == ["what is best?"]

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
    inbox = Inbox(lambda text: None, Event())
    with os.fdopen(reader) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with reading(inbox, Lines(Console(file=io.StringIO())), prompt_session):
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
        "from agent.chat.window.inbox import Inbox, reading\n"
        "from agent.chat.window.terminal import prompt_session\n"
        "from agent.report.progress import Lines\n"
        "with reading(Inbox(print, Event()), Lines(Console()), prompt_session):\n"
        "    print('reading', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.wait() == 0, process.stderr and process.stderr.read()
    process.communicate()
