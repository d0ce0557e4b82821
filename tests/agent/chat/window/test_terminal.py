"""A person at a real terminal (tmux): type, complete, interrupt, resize; a narrow window, no colour, a bar beside."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ended_search import ended_search
from processes import ARGUMENTS
from rich.cells import cell_len

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="a terminal is needed: tmux is not installed"),
]

SECRET = "sk-planted-0123456789abcdef"  # a key that no provider ever gave out
PATIENCE_SECONDS = 240.0


class Terminal:
    """One window of a tmux server of its own."""

    def __init__(self, folder: Path, columns: int = 80, **environment: str) -> None:
        self.socket, self.folder = f"diffnas-test-{os.getpid()}-{id(self)}", folder
        settings = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "OMP_NUM_THREADS": "1", **environment}
        exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
        unset = "-u COLUMNS -u LINES"  # the readline library, which pytest loads, sets them, and then they never change
        self.shell = f"env {unset} {exports} PS1='READY ' bash --norc --noprofile"
        self.tmux("new-session", "-d", "-x", str(columns), "-y", "50", "-c", str(folder), self.shell)

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-L", self.socket, "-f", "/dev/null", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def type(self, *keys: str) -> None:
        """Type text, or keys such as Enter and C-c."""
        for key in keys:
            literal = [] if key in ("Enter", "Tab", "Up", "Left", "C-c", "C-d", "C-u", "C-z") else ["-l"]
            self.tmux("send-keys", *literal, key)

    def command(self, *words: str) -> None:
        """Type a command of ours."""
        self.type(shlex.join([sys.executable, "-m", "agent", *words]), "Enter")

    def screen(self, colours: bool = False) -> str:
        return self.tmux("capture-pane", "-p", "-S", "-200", *(["-e"] if colours else []))

    def wait(self, text: str, times: int = 1) -> str:
        """The screen, once a text stands on it so often."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if (screen := self.screen()).count(text) >= times:
                return screen
            time.sleep(0.2)
        raise AssertionError(f"no {text!r} on the screen:\n{self.screen()}")

    def resize(self, columns: int) -> None:
        """Another width; tmux tells the terminal device a moment later."""
        self.tmux("resize-window", "-x", str(columns), "-y", "50")
        device = os.open(self.tmux("display-message", "-p", "#{pane_tty}").strip(), os.O_RDONLY | os.O_NOCTTY)
        try:
            while os.get_terminal_size(device).columns != columns:
                time.sleep(0.1)
        finally:
            os.close(device)

    def close(self) -> None:
        self.tmux("kill-server")
        place = Path(os.environ.get("TMUX_TMPDIR", "/tmp"), f"tmux-{os.getuid()}", self.socket)
        place.unlink(missing_ok=True)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def made(folder: Path, columns: int = 80, **environment: str) -> Terminal:
        opened.append(Terminal(folder, columns, **environment))
        return opened[-1]

    yield made
    for found in opened:
        found.close()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search that is over."""
    return ended_search(tmp_path_factory.mktemp("terminal")).parent


def test_a_chat_is_typed_completed_interrupted_and_left(searched: Path, terminal: Callable[..., Terminal]) -> None:
    window = terminal(searched)
    window.command("chat", "first")
    window.wait("No language model is in charge")
    window.type("/stat", "Tab")
    window.wait("> /status")
    window.type("Enter")
    window.wait("first (search 1): finished, 2 of 2 rounds done")
    window.type("nonsense that is not wanted", "C-c")
    window.wait("(Ctrl-D or /quit leaves the chat; the search goes on)")
    window.type("Up")
    window.wait("> /status", times=2)
    window.type("C-u", "/freeze attn_0=0", "Enter")
    window.wait("Directive 1 is given")
    window.type("/freeze attn_0=1", "Enter")
    window.wait("Give it in the place of directive 1? (y/n)")
    window.type("n", "Enter")
    window.wait("Not given.")
    window.type("/undo", "Enter")
    window.wait("Taken back: directive 1")
    window.type(f"my key is {SECRET}", "Enter")
    window.wait("Plain wishes need a language model")
    window.type("C-d")
    window.wait("READY", times=2)
    history = (searched / "diffnas.chat-history").read_text()
    assert "/freeze attn_0=0" in history
    assert "\n+n\n" not in history  # what answers a question is no line to come back to
    assert SECRET not in history and "my key is" in history


def test_a_chat_in_a_narrow_window_breaks_between_words_and_survives_a_resize(
    searched: Path, terminal: Callable[..., Terminal]
) -> None:
    window = terminal(searched, columns=40)
    window.command("chat", "first")
    window.wait("search goes on.")
    window.type("/plot", "Enter")
    screen = window.wait("best so far")
    assert all(len(line) <= 40 for line in screen.splitlines())
    window.resize(100)
    window.type("what is noise", "Enter")
    window.wait("Noise is unmeasured: it takes at least two scored training seeds of one spec.")
    window.resize(40)
    window.type("what failed", "Enter")
    window.wait("No trial failed and no proposal was")
    window.type("/quit", "Enter")


def test_no_colour_is_no_colour(searched: Path, terminal: Callable[..., Terminal]) -> None:
    window = terminal(searched, NO_COLOR="1")
    window.command("chat", "first")
    window.wait("search goes on.")
    window.type("/status", "Enter")
    window.wait("protocol: ")
    window.type("/fr", "Tab")
    window.wait("> /freeze")
    coloured = [line for line in window.screen(colours=True).splitlines() if "\x1b[3" in line or "\x1b[4" in line]
    assert coloured == []


@pytest.mark.parametrize("columns", [100, 80, 42])
def test_lines_are_typed_beside_the_bar_of_a_running_search(
    tmp_path: Path, terminal: Callable[..., Terminal], columns: int
) -> None:
    window = terminal(tmp_path, columns=columns)
    window.command("run", "--name", "first", *ARGUMENTS, "--train-steps", "2000", "--parallel", "1")
    window.wait("training, loss")
    window.type("/stus", "Left", "Left", "at")
    screen = window.wait("> /status")
    assert "training, loss" in screen.rpartition("> /status")[2]  # the bar stays, below
    assert all(cell_len(line) <= columns for line in screen.splitlines())
    window.type("Enter")
    window.wait("first (search 1): running")
    window.type("/fr", "Tab")
    window.wait("> /freeze")
    window.type("attn_0=0", "Enter")
    window.wait("Directive 1 is given")
    window.type("C-d", "Up")
    window.wait("> /freeze attn_0=0", times=2)
    window.type("C-c")
    window.wait("interrupted; go on with")
    window.type("echo is back", "Enter")  # the terminal is as it was
    window.wait("is back", times=2)


def test_a_search_is_suspended_goes_on_in_the_background_and_a_second_ctrl_c_ends_it_at_once(
    tmp_path: Path, terminal: Callable[..., Terminal]
) -> None:
    window = terminal(tmp_path, columns=100)
    window.command("run", "--name", "first", *ARGUMENTS, "--train-steps", "5000", "--parallel", "1")
    window.wait("training, loss")
    window.type("C-z")
    window.wait("Stopped")
    window.type("bg", "Enter", "echo shell", "Enter")
    window.wait("shell", times=2)
    window.type("fg", "Enter")
    window.wait("training, loss")
    window.type("C-c")
    window.wait("press Ctrl-C again to stop at once.")
    window.type("C-c")
    window.wait("interrupted; go on with: diffnas-agent resume first")
    window.type("echo is back", "Enter")
    window.wait("is back", times=2)


def test_each_training_is_approved_at_the_terminal(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    window = terminal(tmp_path, columns=100)
    window.command("run", "--name", "first", "--approve", *ARGUMENTS, "--train-steps", "2", "--set", "replicas=1")
    window.wait("Round 0: train b8-n1-m1.1.1.1-a0000?")
    window.type("/status", "Enter")
    window.wait("first (search 1): running, 0 of 1 rounds done")
    window.type("a", "Enter")
    window.wait("Round 1: train ")
    window.type("b8-n1-m1.1.2.2-a0000", "Enter")
    window.wait("by user")
    window.wait("Proposed by: baseline 1, user 1.")
