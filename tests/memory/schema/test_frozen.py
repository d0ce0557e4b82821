"""Memories of every earlier schema, as the program of its day left them: each opens, answers, and is gone on with.

``frozen/NAME.sql`` is a dump of a memory whose last migration was NAME: two searches of one protocol, with a trial that
is scored, one that is better, one that failed, one that was stopped (pruned, where there was such a state), a refusal.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from same_answers import check_answers, check_derived
from sqlite_utils import Database
from typer.testing import CliRunner

from agent.cli.main import app
from memory.connection import opened
from memory.journal import moment, past_of
from memory.leases import take_lease
from memory.ledger import Ledger, totals
from memory.queries import progress, records
from memory.schema.migrations import migration_names
from memory.searches import find_search

FROZEN = sorted((Path(__file__).parent / "frozen").glob("*.sql"))


@pytest.fixture(params=FROZEN, ids=lambda file: file.stem)
def old(request: pytest.FixtureRequest, path: Path) -> Iterator[Database]:
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(request.param.read_text())
    with opened(path) as db:
        yield db


def test_every_earlier_schema_is_frozen() -> None:
    assert [file.stem for file in FROZEN] == migration_names()[:-1]


def test_an_old_memory_answers(old: Database) -> None:
    search = find_search(old, "early")
    assert (search.kind, search.searcher, search.rounds, search.state) == ("run", "llm", 5, "interrupted")
    assert [(row["trial"], row["rfid"]) for row in records.best(old, search.id)] == [(2, 3.0), (1, 4.5)]
    assert [row["trial"] for row in records.top_records(old)] == [2, 1, 5]
    counts = progress.search_counts(old, search.id)
    assert (counts["scored"], counts["failed"] + counts["pruned"], counts["refused"]) == (2, 2, 1)
    assert [row["why"] for row in progress.failures(old, search.id)].count("out of memory") == 1
    assert totals(old, search.id) == Ledger(
        device_seconds=30.0, wall_seconds=40.0, input_tokens=100, output_tokens=20, cost_usd=None
    )
    check_derived(old)
    check_answers(old)
    assert old.conn.execute("PRAGMA foreign_key_check").fetchall() == []
    assert old.conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


@pytest.mark.parametrize("words", [("compress", "99"), ("confirm", "99")])
def test_what_writes_brings_an_old_memory_up_to_date(path: Path, words: tuple[str, ...]) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(FROZEN[-1].read_text())
    done = CliRunner().invoke(app, [*words, "--db", str(path)])
    assert str(done.exception).startswith("'99' is not a trial of this memory")  # and not from an older version


def test_an_old_search_goes_on(old: Database, path: Path, fill: Any) -> None:
    search = find_search(old, "early").id
    take_lease(old, search)
    then = moment(old)
    accepted = fill.accept(search, 4, "b32-n2-m1.2.2.2-a0100", macs=2000)
    assert fill.finish(accepted, 2.0) == accepted.trial
    assert [row["rfid"] for row in records.best(old, search)] == [2.0, 3.0, 4.5]
    assert progress.remaining(old, search)[0]["rounds_left"] == 1
    check_derived(old)
    with past_of(path) as past:
        past.back_to(then)
        assert [row["rfid"] for row in records.best(past.db, search)] == [3.0, 4.5]
        check_derived(past.db)
