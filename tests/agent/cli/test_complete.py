"""What the Tab key offers: words of the memory and of the settings, soon, and whatever is wrong no traceback."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ended_search import ended_search

from agent.cli.complete import COMPLETING

ROOT = Path(__file__).parents[3]


def offered(folder: Path, line: str, *options: str) -> list[str]:
    """The words that bash is offered behind a line, by a process as the shell starts one."""
    words = line.split(" ")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), COMPLETING: "complete_bash"}
    env = {**os.environ, "PYTHONPATH": str(ROOT), **asked}
    command = [sys.executable, *options, "-m", "agent"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert options or done.stderr == "", done.stderr
    return done.stdout.split() if not options else done.stderr.splitlines()


WORDS = (
    ("diffnas-agent stat", ["status"]),
    ("diffnas-agent memory s", ["show", "sql"]),
    ("diffnas-agent status ", ["first"]),
    ("diffnas-agent status --wa", ["--watch"]),
    ("diffnas-agent memory show ", ["3", "2", "1"]),
    ("diffnas-agent export ", ["first", "3", "2", "1"]),
    ("diffnas-agent confirm --search f", ["first"]),
    ("diffnas-agent train b8-n2", ["b8-n2-m1.1.1.2-a0000"]),
    ("diffnas-agent run --preset ddpm", ["ddpm-cifar10"]),
    ("diffnas-agent run --count ", ["paper", "total"]),
    ("diffnas-agent run --searcher ce", ["centaur"]),
    ("diffnas-agent run --space digits", ["digits-8"]),
    ("diffnas-agent run --bench ", ["unetbench"]),
    ("diffnas-agent run --feature-network d", ["digits-cnn"]),
    ("diffnas-agent rank-study --rapid paper-r", ["paper-rapid"]),
)
BY_DEFAULT = (
    "diffnas-agent status ",
    "diffnas-agent memory show ",
    "diffnas-agent run --preset ddpm",
)  # a process each


@pytest.mark.parametrize(
    ("line", "expected"),
    [case if case[0] in BY_DEFAULT else pytest.param(*case, marks=pytest.mark.slow) for case in WORDS],
)
def test_words_are_offered(line: str, expected: list[str], tmp_path: Path) -> None:
    ended_search(tmp_path)
    assert offered(tmp_path, line) == expected


def test_the_memory_that_the_line_names_is_asked(tmp_path: Path) -> None:
    ended_search(tmp_path).rename(tmp_path / "other.db")
    assert offered(tmp_path, "diffnas-agent status ") == []
    assert offered(tmp_path, "diffnas-agent status --db other.db ") == ["first"]


@pytest.mark.parametrize(
    "broken",
    ["another program", *(pytest.param(each, marks=pytest.mark.slow) for each in ("nothing", "settings", "a folder"))],
)
def test_nothing_is_offered_and_nothing_said_where_something_is_wrong(broken: str, tmp_path: Path) -> None:
    if broken == "another program":
        (tmp_path / "diffnas.db").write_bytes(b"no database at all, but long enough to be looked at as one" * 20)
    if broken == "settings":
        (tmp_path / "diffnas.toml").write_text("rounds =")
    if broken == "a folder":
        (tmp_path / "diffnas.db").mkdir()
    assert offered(tmp_path, "diffnas-agent status ") == []


def test_a_shell_that_asks_wrongly_gets_no_traceback(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), COMPLETING: "complete_bash"}  # without the line
    command = [sys.executable, "-m", "agent"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_completion_imports_nothing_heavy(tmp_path: Path) -> None:
    ended_search(tmp_path)
    lines = offered(tmp_path, "diffnas-agent status ", "-X", "importtime")
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in lines}
    assert "sqlite_utils" in imported
    assert not imported & {"torch", "langchain", "langchain_core", "numpy", "pandas", "diffusers"}


@pytest.mark.parametrize("shell", ["bash", *(pytest.param(each, marks=pytest.mark.slow) for each in ("zsh", "fish"))])
def test_the_script_of_a_shell_is_shown_and_put_where_it_looks(shell: str, tmp_path: Path) -> None:
    seen = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    seen["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"  # which shell asks is said, not looked for
    for option in ("--show-completion", "--install-completion"):
        done = subprocess.run(
            [sys.executable, "-m", "agent", option, shell], env=seen, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "diffnas-agent" in done.stdout
    assert any(tmp_path.rglob("*diffnas-agent*"))


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    seen = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path / "home")}
    seen["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
    command = [sys.executable, "-m", "agent", "--install-completion", "bash"]
    done = subprocess.run(command, env=seen, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("--install-completion cannot write '")


def test_a_memory_that_another_program_holds_lets_no_shell_wait(tmp_path: Path) -> None:
    with sqlite3.connect(ended_search(tmp_path)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert offered(tmp_path, "diffnas-agent status ") == []
        assert time.monotonic() - began < 30  # of the minute that a command would wait
