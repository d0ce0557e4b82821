"""What the program says where no command is given: by the state of the folder, as commands that can be pasted."""

import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import all_commands, received
from ended_search import ended_search
from typed import answering

from agent.report.guide.first_contact import greet, most_pressing
from agent.report.status import SearchStatus, search_status
from memory.connection import opened
from memory.leases import take_lease
from memory.searches import find_search, list_searches, set_state

ROOT = Path(__file__).parents[4]
Typed = Callable[..., tuple[int, str, str]]
TO_COME = ("report",)  # commands that are printed before they are there


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return answering(monkeypatch, capsys)


def pasted(out: str) -> list[str]:
    """The commands that are shown, each of which the parser takes."""
    found = [line.strip() for line in out.splitlines() if line.startswith("    diffnas-agent ")]
    for line in found:
        _, name, *words = shlex.split(line)
        if name in TO_COME and name not in all_commands():
            continue
        name, words = (f"{name} {words[0]}", words[1:]) if name == "memory" else (name, words)
        received(all_commands()[name], *words)
    return found


def in_state(folder: Path, state: str) -> Path:
    db = ended_search(folder)
    with opened(db) as memory:
        if state in ("running", "paused"):
            take_lease(memory, 1)
        set_state(memory, 1, "running" if state == "interrupted" else state)  # type: ignore[arg-type]
    return db


def test_a_folder_without_a_memory_is_told_to_look_and_to_begin(typed: Typed, tmp_path: Path) -> None:
    code, out, err = typed()
    assert (code, err) == (0, "")
    assert "There is no search in diffnas.db yet." in out
    assert pasted(out) == ["diffnas-agent doctor", "diffnas-agent run --preset digits"]
    assert out.splitlines()[-1] == "All commands: diffnas-agent --help"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("made", ["an empty file", "a memory without a search"])
def test_a_memory_without_a_search_is_none(made: str, typed: Typed) -> None:
    Path("diffnas.db").touch()
    if made != "an empty file":
        with opened(Path("diffnas.db")):
            pass
    code, out, _ = typed()
    assert code == 0 and "diffnas-agent run --preset digits" in pasted(out)


@pytest.mark.parametrize(
    ("state", "commands"),
    [
        ("running", ["diffnas-agent status first --watch", "diffnas-agent chat first"]),
        ("paused", ["diffnas-agent status first --watch", "diffnas-agent chat first"]),
        ("interrupted", ["diffnas-agent resume first", "diffnas-agent report first"]),
        ("failed", ["diffnas-agent memory failures first"]),
        (
            "finished",
            [
                "diffnas-agent report first",
                "diffnas-agent export first first-model",
                "diffnas-agent confirm --search first",
            ],
        ),
    ],
)
def test_the_state_of_the_search_says_what_comes_next(
    state: str, commands: list[str], typed: Typed, tmp_path: Path
) -> None:
    in_state(tmp_path, state)
    code, out, err = typed()
    assert (code, err) == (0, "")
    assert out.startswith(f"first (search 1): {state}, 2 of 2 rounds done\nbest: trial 2 ")
    assert pasted(out) == commands


def test_a_memory_elsewhere_is_named_in_each_command(typed: Typed, tmp_path: Path) -> None:
    place = tmp_path / "a b"
    place.mkdir()
    (tmp_path / "diffnas.toml").write_text('db = "a b/diffnas.db"\n')
    ended_search(place)
    assert all(line.endswith("--db 'a b/diffnas.db'") for line in pasted(typed()[1]))


def test_a_search_on_a_table_has_no_weights_to_export(typed: Typed, tmp_path: Path) -> None:
    ended_search(tmp_path, bench="unetbench")
    assert pasted(typed()[1]) == ["diffnas-agent report first", "diffnas-agent train b8-n1-m1.1.1.2-a0000"]


def test_a_baseline_alone_is_nothing_to_confirm(tmp_path: Path) -> None:
    from agent.report.guide.next_steps import steps_of

    db = ended_search(tmp_path)
    with opened(db, read_only=True) as memory:
        row, found = find_search(memory, "first"), search_status(memory, "first")
    alone = SearchStatus.model_validate({**dict(found), "trials": {"scored": 1}})
    assert not any("confirm" in step.line for step in steps_of(row, alone, db))
    assert any("confirm" in step.line for step in steps_of(row, found, db))


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ("another program", "'diffnas.db' is not a diffnas memory: it holds invoices"),
        ("no database", "'diffnas.db' is not a diffnas memory: file is not a database"),
        ("a newer version", "'diffnas.db' was written by a newer version"),
        ("a folder", "'diffnas.db' is a folder; name a file with --db"),
    ],
)
def test_a_memory_that_is_none_of_ours_is_one_sentence(made: str, sentence: str, typed: Typed, tmp_path: Path) -> None:
    if made == "another program":
        with sqlite3.connect("diffnas.db") as other:
            other.execute("CREATE TABLE invoices (id)")
    if made == "no database":
        Path("diffnas.db").write_text("words " * 500)
    if made == "a newer version":
        with sqlite3.connect(ended_search(tmp_path)) as newer:
            newer.execute(
                "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
                " VALUES ('diffnas', 'm9999_future', 'then')"
            )
    if made == "a folder":
        Path("diffnas.db").mkdir()
    code, out, err = typed()
    assert (code, out) == (2, "")
    assert err.startswith(sentence), err
    assert err.count("\n") == 1


def test_a_setting_that_is_wrong_is_one_sentence(typed: Typed) -> None:
    Path("diffnas.toml").write_text("rounds =")
    code, _, err = typed()
    assert code == 2 and err.count("\n") == 1 and err.startswith("'diffnas.toml'")


def test_a_search_that_runs_goes_before_a_later_one(tmp_path: Path) -> None:
    db = in_state(tmp_path, "running")
    with opened(db) as memory:
        names = ", ".join(row[1] for row in memory.conn.execute("PRAGMA table_info(searches)") if row[1] != "id")
        values = names.replace("name,", "'second',").replace("state,", "'finished',").replace(" kind", " 'run'")
        memory.conn.execute(f"INSERT INTO searches ({names}) SELECT {values} FROM searches")
        rows = list_searches(memory)
    assert [row.name for row in rows] == ["second", "first"]
    assert most_pressing(rows).name == "first"


def test_help_is_one_word_away_and_a_command_is_not_greeted(typed: Typed) -> None:
    code, out, _ = typed("--help")
    assert code == 0 and out.startswith("Usage: diffnas-agent") and "Without a command" in out
    assert "Next:" not in typed("list")[1] + typed("--version")[1]


def test_it_imports_nothing_heavy(tmp_path: Path) -> None:
    ended_search(tmp_path)
    command = [sys.executable, "-X", "importtime", "-m", "agent"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "sqlite_utils" in imported
    assert not imported & {"torch", "langchain", "langchain_core", "numpy", "pandas", "scipy", "diffusers", "sklearn"}


def test_it_is_whole_in_forty_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import io

    from agent.report.console import People

    stream = io.StringIO()
    console = People(file=stream, width=40, force_terminal=True, color_system=None, markup=False, emoji=False)
    greet(console, ended_search(tmp_path))
    for line in stream.getvalue().splitlines():
        assert len(line.rstrip()) <= 40 or line.startswith("    diffnas-agent "), line
