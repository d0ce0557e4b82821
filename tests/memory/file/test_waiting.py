"""While another program holds the memory we wait, say so, and give up in one sentence."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import finish, start, wait_for
from searches import TinySearch

from agent.search.session import driving
from diffusion.errors import UserError
from memory.connection import connect, opened, transaction
from memory.file import waiting
from memory.file.waiting import Held

SENTENCE = "was held by another program for more than"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "diffnas.db"
    with opened(path):
        return path


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process says while it waits: soon, and not for long."""
    monkeypatch.setattr(waiting, "SAY_AFTER_SECONDS", 0.2)
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0.6)
    monkeypatch.setattr("memory.file.opening.SLICE_SECONDS", 0.05)
    monkeypatch.setattr(waiting, "_told", {})
    said: list[str] = []
    monkeypatch.setattr(waiting, "_listeners", [said.append])
    return said


@contextmanager
def held(path: Path, seconds: float) -> Iterator[None]:
    """Another program holds a memory, which lets go after a while."""
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    thread = threading.Timer(seconds, other.rollback)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        other.close()


def write(path: Path) -> None:
    with opened(path) as db, transaction(db) as conn:
        conn.execute("UPDATE searches SET name = name")


def test_a_write_waits_for_a_program_that_lets_go_and_says_so_once(path: Path, said: list[str]) -> None:
    with held(path, 0.4):
        began = time.monotonic()
        write(path)
    assert time.monotonic() - began > 0.3
    assert said == [f"'{path}' is held by another program; waiting for it, 1 s at most"]


def test_a_short_wait_is_silent(path: Path, said: list[str]) -> None:
    with held(path, 0.1):
        write(path)
    assert said == []


def test_after_its_patience_it_is_one_sentence(path: Path) -> None:
    with held(path, 1.2), pytest.raises(Held) as raised:
        write(path)
    assert str(raised.value).startswith(f"'{path}' {SENTENCE}")
    write(path)


def test_other_errors_are_raised_at_once(path: Path) -> None:
    with opened(path) as db, pytest.raises(sqlite3.OperationalError, match="no such table"):
        db.conn.execute("SELECT * FROM absent")


def test_threads_that_wait_together_say_it_once(path: Path, said: list[str]) -> None:
    with held(path, 0.45):
        threads = [threading.Thread(target=write, args=[path]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(said) == 1


def test_the_heartbeat_survives_a_memory_that_is_held_for_longer_than_its_patience(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = TinySearch(tmp_path)
    with driving(search.search, search.plan, as_json=False, backend="offline") as session:
        with held(search.db, 1.0):
            assert session.keep(), session.lost
        assert session.keep()
        assert session.lost is None
    shown = " ".join(capsys.readouterr().out.split())
    assert SENTENCE in shown
    assert "the search goes on, its heartbeat waits" in shown


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [25, 45])
def test_a_search_waits_for_as_long_as_a_backup_takes_and_ends_as_it_would_have(tmp_path: Path, seconds: int) -> None:
    running = start(tmp_path, "run", "--bench", "unetbench", "--rounds", "40", "--name", "held", "--json")
    wait_for(running, "round.finished", round=3)
    with held(tmp_path / "diffnas.db", seconds):
        events, said = finish(running)
    assert running.returncode == 0, said
    assert "held by another program; waiting for it" in said
    assert events[-1]["rounds"] == 40


def test_a_memory_that_is_held_and_has_to_be_brought_up_to_date_ends_a_command_in_one_sentence(path: Path) -> None:
    with opened(path) as db:
        db.conn.execute("DELETE FROM _sqlite_migrations WHERE name = 'm0002_results'")
    with held(path, 1.2), pytest.raises(UserError, match=SENTENCE):
        connect(path)
