"""The memory as it was: every moment of a filled memory is given back to the last bit."""

from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from memory.connection import opened
from memory.directives import add_directive, undo_directive
from memory.journal import inserted_at, moment, past_of, snapshot
from memory.leases import renew_lease, take_lease
from memory.ledger import charge
from memory.searches import change_search
from memory.trainings import training_paused, training_started
from memory.trials import find_trial

WATCHED = ("proposals", "trainings", "trials", "scores", "ledger", "model_calls", "directives")


def contents(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    found = {name: [tuple(row) for row in db.conn.execute(f"SELECT * FROM {name}")] for name in WATCHED}
    found["searches"] = [tuple(row) for row in db.conn.execute("SELECT id, rounds, backend FROM searches")]
    return found


def test_every_moment_comes_back_to_the_last_bit(path: Path, db: Database, fill: Any, search: int) -> None:
    seen = [(moment(db), contents(db))]

    def now() -> None:
        seen.append((moment(db), contents(db)))

    fill.refuse(search, 0)
    now()
    accepted = fill.accept(search, 0)
    now()
    training_started(db, accepted.training)
    now()
    training_paused(db, accepted.training, steps_done=300, loss=0.1 + 0.2, device_seconds=1 / 3)
    now()
    fill.finish(accepted, 1.5)  # overwrites 0.30000000000000004, of which fifteen digits would lose the last
    now()
    directive = add_directive(db, search, "mode", {"mode": "explore"}, "explore")
    charge(db, search, "wall", wall_seconds=1 / 3)
    now()
    undo_directive(db, search, directive)
    change_search(db, search, rounds=9, backend="openai:other")
    now()
    with past_of(path) as past:
        for when, before in reversed(seen):
            past.back_to(when)
            assert contents(past.db) == before
    assert contents(db) == seen[-1][1]


def test_time_runs_one_way(path: Path, fill: Any, search: int) -> None:
    fill.accept(search, 0)
    with past_of(path) as past:
        past.back_to(1)
        with pytest.raises(ValueError, match="before 2"):
            past.back_to(2)


def test_a_heartbeat_is_no_moment(db: Database, fill: Any, search: int) -> None:
    before = moment(db)
    renew_lease(db, search, take_lease(db, search))
    assert moment(db) == before


def test_a_snapshot_is_of_one_moment_whatever_others_write(path: Path, fill: Any, search: int) -> None:
    with opened(path, read_only=True) as reader, snapshot(reader) as when:
        fill.accept(search, 0)
        assert moment(reader) == when
        assert reader.conn.execute("SELECT count(*) FROM trials").fetchone()[0] == 0
    assert moment(fill.db) > when


def test_the_moment_before_a_row_knows_nothing_of_it(path: Path, fill: Any, search: int) -> None:
    proposal = find_trial(fill.db, fill.scored(search, 0, fill.spec, 1.5)).proposal
    with past_of(path) as past:
        past.back_to(inserted_at(past.db, "proposals")[proposal] - 1)
        assert past.db.conn.execute("SELECT count(*) FROM proposals").fetchone()[0] == 0
        assert past.db.conn.execute("SELECT count(*) FROM results").fetchone()[0] == 0


def test_every_table_that_a_prompt_reads_is_journalled(db: Database) -> None:
    triggers = {row["name"] for row in db.conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
    for table in (*WATCHED, "searches", "verdicts", "replicas", "citations", "messages"):
        assert {f"journal_{table}_{change}" for change in ("insert", "update", "delete")} <= triggers
