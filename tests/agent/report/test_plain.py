"""Plain lines for who cannot see columns and colours, wherever they are wished, and all that was said stays said."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ended_search import ended_search
from typed import answering

from agent.config.sources import resolve
from agent.report.console import be_plain, people
from agent.report.tables import print_table

ROOT = Path(__file__).parents[3]
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    monkeypatch.chdir(tmp_path)
    ended_search(tmp_path)
    return answering(monkeypatch, capsys)


def is_plain(out: str) -> bool:
    """Whether the trials are lines in which every value has its name."""
    return out.startswith("trial 2; spec b8-n1-m1.1.1.2-a0000; widths 8.8.8.16; score 150; ")


@pytest.mark.parametrize(
    ("words", "environment", "toml", "dotenv", "expected"),
    [
        ((), {}, "", "", False),
        (("--plain",), {}, "", "", True),
        ((), {"DIFFNAS_PLAIN": "1"}, "", "", True),
        ((), {"DIFFNAS_PLAIN": ""}, "plain = true", "", True),
        ((), {}, "plain = true", "", True),
        ((), {}, "", "DIFFNAS_PLAIN=yes", True),
        (("--no-plain",), {"DIFFNAS_PLAIN": "1"}, "", "", False),
        ((), {"DIFFNAS_PLAIN": "0"}, "plain = true", "", False),
    ],
)
def test_each_source_says_it_and_the_option_wins(
    words: tuple[str, ...], environment: dict[str, str], toml: str, dotenv: str, expected: bool, typed: Typed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name, text in (("diffnas.toml", toml), (".env", dotenv)):
        if text:
            Path(name).write_text(text)
    code, out, err = typed(*words, "memory", "top")
    assert (code, err) == (0, "")
    assert is_plain(out) == expected


def test_a_wish_holds_for_one_command(typed: Typed) -> None:
    assert is_plain(typed("--plain", "memory", "top")[1])
    assert not is_plain(typed("memory", "top")[1])


def test_a_value_that_is_none_is_said_by_the_command(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFNAS_PLAIN", "perhaps")
    code, _, err = typed("status")
    assert code == 2 and err.startswith("DIFFNAS_PLAIN perhaps: input should be a valid boolean")
    assert typed("audit")[0] == 0  # it reads no setting


def test_it_is_a_setting_like_any_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert not resolve({}).config.screen.plain
    monkeypatch.setenv("DIFFNAS_PLAIN", "true")
    found = resolve({})
    assert (found.config.screen.plain, found.sources["plain"]) == (True, "environment")


def test_all_values_of_a_row_are_said_and_empty_ones_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    be_plain(True)
    try:
        print_table(people(), ("name", "", "\nscore"), [("first", "running", 3), ("second", "", "–")])
    finally:
        be_plain(False)
    assert capsys.readouterr().out.splitlines() == ["name first; running; score 3", "name second; score –"]


@pytest.mark.parametrize(
    ("environment", "words", "escapes"),
    [
        ({"TERM": "xterm-256color"}, [], True),
        ({"TERM": "xterm-256color", "DIFFNAS_PLAIN": "1"}, [], False),
        ({"TERM": "dumb"}, [], False),
        ({"TERM": "xterm-256color", "FORCE_COLOR": "1"}, ["--plain"], False),
    ],
)
def test_a_terminal_gets_no_escape_where_lines_are_plain(
    environment: dict[str, str], words: list[str], escapes: bool, tmp_path: Path
) -> None:
    ended_search(tmp_path)
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **environment}
    command = [sys.executable, "-m", "agent", *words, "memory", "top"]
    done = subprocess.run(command, cwd=tmp_path, env=env, stdout=theirs, stderr=subprocess.PIPE, check=False)
    os.close(theirs)
    said = b""
    while len(said) < 4096:
        try:
            data = os.read(ours, 4096)
        except OSError:  # its end, on Linux
            break
        said += data
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (b"\x1b" in said) == escapes
    assert is_plain(said.decode()) == (not escapes)
