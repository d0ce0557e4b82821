"""The session of the process that drives a search: a lease that cannot be kept stops it, and it says why."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from searches import TinySearch

from agent.search import session as sessions
from agent.search.drive import make_loop
from agent.search.session import Session, driving, heartbeat
from memory.connection import opened
from memory.leases import take_lease
from memory.searches import find_search

SECONDS = 20.0  # after which a test that waits for another thread gives up


@pytest.fixture(autouse=True)
def quick_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "HEARTBEAT_SECONDS", 0.05)


def taken_over(search: TinySearch, monkeypatch: pytest.MonkeyPatch) -> str:
    """Another process has the lease."""
    with opened(search.db) as db:
        take_lease(db, search.search)
    return f"search {search.search} is driven by another process now"


def broken(search: TinySearch, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file cannot be written any more."""

    def fail(*values: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(sessions, "renew_lease", fail)
    return "disk I/O error"


@pytest.mark.parametrize("lose", [taken_over, broken])
def test_a_lease_that_cannot_be_kept_stops_what_is_trained_writes_no_end_and_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lose: Callable[[TinySearch, pytest.MonkeyPatch], str],
) -> None:
    search = TinySearch(tmp_path)

    def work(session: Session) -> str:
        nonlocal why
        why = lose(search, monkeypatch)
        assert session.stop.wait(SECONDS), "nobody noticed"  # as a training does, which then saves
        return "interrupted"

    why = ""
    with driving(search.search, search.plan, as_json=False, backend="offline") as session:
        assert session.play("round 0", lambda: work(session)) == "interrupted"
    assert session.leave("interrupted") == 1
    said = capsys.readouterr().out
    assert f"Stopping: the lease of {session.name} could not be kept ({why})." in " ".join(said.split())
    assert said.splitlines()[-1].startswith(f"stopped: the lease could not be kept ({why}); go on with: diffnas-agent ")
    with opened(search.db, read_only=True) as db:
        assert db.conn.execute("SELECT state, reason FROM searches").fetchone()["reason"] is None


def test_a_search_whose_lease_is_lost_between_two_rounds_begins_no_further_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = TinySearch(tmp_path)
    search.executor.train = lambda job, tell: pytest.fail("a training began")
    with search.session() as session:
        taken_over(search, monkeypatch)
        assert make_loop(session).run() == "interrupted"
        assert "is driven by another process now" in str(session.lost)
    with opened(search.db) as db:
        assert find_search(db, search.search).reason is None


def test_a_lease_that_is_kept_stops_nothing(tmp_path: Path) -> None:
    search = TinySearch(tmp_path)
    with search.session() as session, heartbeat(session):
        before = beat_of(search)
        assert not session.stop.wait(0.3)
        assert beat_of(search) > before
    assert session.lost is None


def test_the_memory_is_open_once_for_each_thread_of_a_drive_and_closed_at_its_end(tmp_path: Path) -> None:
    search = TinySearch(tmp_path)
    with driving(search.search, search.plan, as_json=False, backend="offline") as session:
        assert session.db is session.db is session.make_context(1, "test").db
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: session.db).result() is not session.db
    with pytest.raises(RuntimeError, match="was closed"):
        _ = session.db


def beat_of(search: TinySearch) -> str:
    return str(search.rows("SELECT lease_heartbeat FROM searches")[0]["lease_heartbeat"])
