"""A search that is watched while it runs: what changes is said once, it ends by itself, and nothing is written."""

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ended_search import ended_search

from agent.exit_codes import INTERRUPTED
from agent.report import watch as watching
from agent.report.console import People
from agent.report.watch import changing, look_at, watch
from memory.connection import opened
from memory.leases import release_lease, take_lease
from memory.searches import set_state

ROOT = Path(__file__).parents[3]


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """A memory whose search is driven by this process."""
    db = ended_search(tmp_path)
    with opened(db) as memory:
        take_lease(memory, 1)
        set_state(memory, 1, "running")
    return db


def end(db: Path) -> None:
    with opened(db) as memory:
        set_state(memory, 1, "finished", "rounds")
        release_lease(memory, 1, memory.conn.execute("SELECT lease_token FROM searches").fetchone()[0])


def console(is_terminal: bool = False, width: int = 100) -> tuple[People, io.StringIO]:
    stream = io.StringIO()
    options: dict[str, Any] = {"force_terminal": is_terminal, "color_system": None, "markup": False, "emoji": False}
    return People(file=stream, width=width, height=40, **options), stream


def ends_after(looks: int, db: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the search end after so many looks; the looks that were taken."""
    taken: list[int] = []

    def slept(seconds: float) -> None:
        taken.append(len(taken))
        if len(taken) == looks:
            end(db)

    monkeypatch.setattr(watching, "sleep", slept)
    return taken


def test_a_line_is_said_when_something_changed_and_it_ends_with_the_search(
    running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = ends_after(3, running, monkeypatch)
    found, stream = console()
    assert watch(found, running, None, as_json=False) == 0
    lines = stream.getvalue().splitlines()
    dated = [line for line in lines if line[2:3] == ":"]
    assert [line[9:] for line in dated] == [
        "first (search 1): running, 2 of 2 rounds done; best: trial 2 b8-n1-m1.1.1.2-a0000, fid-digits-cnn 150",
        "first (search 1): finished, 2 of 2 rounds done; best: trial 2 b8-n1-m1.1.1.2-a0000, fid-digits-cnn 150",
    ]  # of four looks
    assert len(looks) == 3
    assert lines[2].startswith("first (search 1): finished")


def test_json_is_a_status_a_line(
    running: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends_after(2, running, monkeypatch)
    assert watch(console()[0], running, None, as_json=True) == 0
    assert [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()] == ["running", "finished"]


def test_a_search_that_is_over_is_shown_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, stream = console()
    assert watch(found, ended_search(tmp_path), "first", as_json=False) == 0
    assert stream.getvalue().count("finished, 2 of 2 rounds done") == 2  # its one line, and the page


def test_the_latest_search_stays_the_one_that_was_the_latest(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    monkeypatch.setattr(watching, "look_at", lambda path, name: (asked.append(name), look_at(path, name))[1])
    ends_after(2, running, monkeypatch)
    watch(console()[0], running, None, as_json=False)
    assert asked == [None, "1", "1"]


def test_nothing_is_written_by_watching(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "sleep", raising_interrupt)
    with sqlite3.connect(running) as memory:
        before = list(memory.iterdump())
    assert watch(console()[0], running, None, as_json=False) == INTERRUPTED
    with sqlite3.connect(running) as memory:
        assert list(memory.iterdump()) == before


def raising_interrupt(seconds: float) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("width", [24, 40, 100])
def test_a_terminal_shows_no_line_that_is_wider_and_leaves_it_as_it_was(
    width: int, running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "sleep", raising_interrupt)
    found, stream = console(is_terminal=True, width=width)
    assert watch(found, running, None, as_json=False) == INTERRUPTED
    said = stream.getvalue()
    assert said.index("\x1b[?1049h") < said.index("\x1b[?1049l") and "\x1b[?25h" in said  # its screen, its cursor
    assert "no longer watched; what runs" in " ".join(said.split())
    drawn = watching._drawn(found, look_at(running, None))
    lines = found.render_lines(drawn, pad=False)
    assert max(sum(segment.cell_length for segment in line) for line in lines) <= width
    text = "\n".join("".join(segment.text for segment in line) for line in lines)
    assert ("best so far" in text) == (width >= watching.LEAST_COLUMNS)


def test_what_is_trained_again_is_said(running: Path) -> None:
    with opened(running) as memory:
        memory.conn.execute(
            "INSERT INTO replicas (search, trial, training, state, created)"
            " SELECT 1, 1, max(id), 'running', '2026-01-01' FROM trainings"
        )
    status = look_at(running, None).status
    assert status.replicas == 1
    assert "trained again with another seed, to know what is noise: 1 now" in changing(status)
    end(running)
    assert look_at(running, None).status.replicas == 0  # nobody works on it


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_watches_ends_tidily(number: int, running: Path) -> None:
    command = [sys.executable, "-m", "agent", "status", "--watch"]
    process = subprocess.Popen(
        command, cwd=running.parent, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=-1, stderr=-1, text=True
    )
    assert process.stdout
    assert "running" in process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (INTERRUPTED, "")
    assert out.splitlines() == ["first is no longer watched; what runs goes on."]
