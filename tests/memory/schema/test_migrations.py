import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from diffusion.networks import network
from diffusion.settings import Protocol
from diffusion.spec import PAPER_PARAMETERS, UNetSpec
from memory.connection import APPLICATION_ID, insert, opened
from memory.journal import moment, past_of
from memory.schema.migrations import MIGRATIONS, migration_names
from memory.schema.tables import APPEND_ONLY
from memory.searches import find_search, list_searches, store_protocol

TABLES = {
    "protocols", "searches", "proposals", "trainings", "trials", "scores", "messages", "model_calls", "ledger",
    "replicas", "verdicts", "strategies", "strategy_measurements", "directives", "citations", "latencies", "journal",
    "forks", "backend_checks", "standings", "ledger_totals",
    "loss_curves",
}  # fmt: skip


def schema(db: Database) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in db.conn.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name")]


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [re.fullmatch(r"m(\d{4})_[a-z_]+", name) for name in migration_names()]
    assert [int(match[1]) for match in numbers if match] == list(range(1, len(migration_names()) + 1))


def test_opening_again_changes_nothing(path: Path, db: Database, fill: Any, search: int) -> None:
    before = schema(db)
    with opened(path) as again:
        assert MIGRATIONS.pending(again) == []
        MIGRATIONS.apply(again)
        assert schema(again) == before
        assert again.conn.execute("SELECT count(*) FROM searches").fetchone()[0] == 1


def test_every_table_of_ours_is_strict(db: Database) -> None:
    tables = {row["name"]: row["strict"] for row in db.conn.execute("PRAGMA table_list") if row["type"] == "table"}
    assert {name for name, strict in tables.items() if strict} == TABLES


def test_references_are_foreign_keys(db: Database) -> None:
    found = {
        (table, key["from"], key["table"])
        for table in TABLES
        for key in db.conn.execute(f"PRAGMA foreign_key_list({table})")
    }
    assert found == {
        ("searches", "protocol", "protocols"),
        ("proposals", "search", "searches"),
        ("trials", "search", "searches"),
        ("trials", "proposal", "proposals"),
        ("trials", "training", "trainings"),
        ("scores", "training", "trainings"),
        ("scores", "protocol", "protocols"),
        ("messages", "search", "searches"),
        ("model_calls", "search", "searches"),
        ("ledger", "search", "searches"),
        ("replicas", "search", "searches"),
        ("replicas", "trial", "trials"),
        ("replicas", "training", "trainings"),
        ("verdicts", "trial", "trials"),
        ("strategies", "search", "searches"),
        ("strategy_measurements", "strategy", "strategies"),
        ("directives", "search", "searches"),
        ("directives", "replaced_by", "directives"),
        ("citations", "directive", "directives"),
        ("forks", "parent", "searches"),
        ("forks", "search", "searches"),
        ("standings", "protocol", "protocols"),
        ("standings", "search", "searches"),
        ("standings", "trial", "trials"),
        ("standings", "training", "trainings"),
        ("ledger_totals", "search", "searches"),
        ("loss_curves", "training", "trainings"),
    }


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_was_measured_or_said_is_never_rewritten(table: str, db: Database, fill: Any, search: int) -> None:
    fill.scored(search, 0, fill.spec, 1.0)
    db.conn.execute(
        "INSERT INTO ledger (search, created, kind, device_seconds, wall_seconds, input_tokens, output_tokens, note)"
        " VALUES (1, '', 'wall', 0.0, 0.0, 0, 0, '')"
    )
    db.conn.execute(
        "INSERT INTO model_calls (search, purpose, model, request_json, seconds, created)"
        " VALUES (1, '', '', '{}', 0.0, '')"
    )
    for statement in (f"UPDATE {table} SET created = ''", f"DELETE FROM {table}"):
        with pytest.raises(Exception, match=f"{table} is append-only"):
            db.conn.execute(statement)


def test_the_view_shows_the_record_that_people_see(fill: Any, search: int) -> None:
    fill.scored(search, 0, "b16-n2-m1.2.3.4-a0101", 3.5, macs=2000)
    row = dict(fill.db.conn.execute("SELECT * FROM results").fetchone())
    assert [row[name] for name in PAPER_PARAMETERS] == [16, 2, 1, 2, 3, 4, 0, 1, 0, 1]
    wanted = {
        "trial": 1, "search": search, "round": 0, "spec": "b16-n2-m1.2.3.4-a0101", "macs_paper": 2000,
        "macs_total": 2010, "params": 500, "rfid": 3.5, "metric": "fid-digits-cnn",
        "protocol": fill.protocol.fingerprint, "state": "scored", "proposer": "offline", "reason": "a try", "cached": 0,
        "seed": 0, "device_seconds": 30.0, "error": None, "family": "ddpm", "dataset": "digits", "train": "rapid",
    }  # fmt: skip
    assert {name: row[name] for name in wanted} == wanted


def test_a_trial_has_one_row_however_often_its_training_was_measured(fill: Any, search: int) -> None:
    accepted = fill.accept(search, 0)
    fill.finish(accepted, 2.0)
    fill.score(accepted.training, 4.0, sampling_seed=1)  # the mean of both counts
    fill.score(accepted.training, 50.0, step=300)  # an earlier step does not
    fill.score(accepted.training, 0.5, metric="kid-digits-cnn")  # nor does another metric
    fill.score(accepted.training, 9.0, protocol=fill.make_protocol(train_steps=900))  # nor another protocol
    assert fill.rows("SELECT rfid, sampling_seeds FROM results") == [(3.0, 2)]
    assert sorted(fill.rows("SELECT rfid, own_protocol FROM all_results")) == [(3.0, 1), (9.0, 0)]


def test_a_failed_trial_has_no_score_though_another_search_measured_the_job(fill: Any, search: int) -> None:
    fill.failed(search, 0, fill.spec)
    fill.scored(fill.search(), 0, fill.spec, 2.0)
    assert fill.rows("SELECT search, state, rfid FROM results ORDER BY trial") == [
        (1, "failed", None),
        (2, "scored", 2.0),
    ]


def older_memory(path: Path, stop_before: str) -> Database:
    """A memory as an earlier version left it."""
    conn = sqlite3.connect(path, isolation_level=None)
    conn.row_factory = sqlite3.Row
    MIGRATIONS.apply(Database(conn), stop_before=stop_before)
    conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    return Database(conn)


def add_search(db: Database, protocol: Protocol, searcher: str = "llm") -> int:
    """A search in the columns that there were before it had a kind; its number."""
    store_protocol(db, protocol)
    return insert(
        db.conn, "searches", name=f"a-{searcher}", state="finished", created="", updated="", budget_macs=1_000_000,
        count_convention="paper", rounds=5, seed=0, searcher=searcher, backend="offline",
        protocol=protocol.fingerprint, config_json="{}",
    )  # fmt: skip


def test_the_kind_of_a_search_is_told_by_what_its_searcher_was(tmp_path: Path, fill: Any) -> None:
    told = {
        "llm": ("run", "llm"),
        "hand": ("train", "hand"),
        "rank-study": ("study", "rank-study"),
        "rank-study-strategy": ("measurement", "rank-study"),
        "strategy": ("strategy", "llm"),
        "confirm": ("confirm", "confirm"),
    }
    with closing(older_memory(tmp_path / "older.db", "m0010_kinds")) as old:
        for searcher in told:
            add_search(old, fill.protocol, searcher)
        old.conn.execute("UPDATE searches SET rounds = 9 WHERE searcher = 'strategy'")  # the journal knows no kind
    with opened(tmp_path / "older.db") as db:
        assert {row.name: (row.kind, row.searcher) for row in list_searches(db)} == {
            f"a-{searcher}": found for searcher, found in told.items()
        }
        before = moment(db)
        db.conn.execute("UPDATE searches SET rounds = 10 WHERE kind = 'confirm'")
        assert moment(db) == before + 1
    with past_of(tmp_path / "older.db") as past:
        past.back_to(before)
        past.back_to(before - 1)
        strategy = find_search(past.db, "a-strategy")
        assert (strategy.rounds, strategy.kind, strategy.searcher) == (5, "strategy", "strategy")


def frozen_memory(path: Path, name: str) -> Database:
    """A memory of an earlier schema, with what is in it."""
    conn = sqlite3.connect(path, isolation_level=None)
    conn.row_factory = sqlite3.Row
    conn.executescript((Path(__file__).parent / "frozen" / f"{name}.sql").read_text())
    return Database(conn)


def test_the_trials_of_an_older_memory_survive_the_new_table(path: Path) -> None:
    with closing(frozen_memory(path, "m0002_results")) as old:
        before = [tuple(row) for row in old.conn.execute("SELECT * FROM trials")]
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            old.conn.execute("UPDATE trials SET state = 'pruned', error = 'behind' WHERE id = 2")
    with opened(path) as db:
        assert [tuple(row) for row in db.conn.execute("SELECT * FROM trials")] == before
        scored = "SELECT trial, rfid FROM results WHERE search = 1 AND rfid IS NOT NULL ORDER BY trial"
        assert [tuple(row) for row in db.conn.execute(scored)] == [(1, 4.5), (2, 3.0)]
        db.conn.execute("UPDATE trials SET state = 'pruned', error = 'behind' WHERE id = 2")
        assert [tuple(row) for row in db.conn.execute(scored)] == [(1, 4.5)]
        assert db.conn.execute("PRAGMA foreign_key_check").fetchall() == []
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            db.conn.execute("UPDATE trials SET error = 'behind' WHERE id = 1")


def test_the_trainings_of_an_older_memory_survive_the_new_table_and_know_their_network(path: Path) -> None:
    with closing(frozen_memory(path, "m0011_standings")) as old:
        before = [dict(row) for row in old.conn.execute("SELECT * FROM trainings")]
    with opened(path) as db:
        found = [dict(row) for row in db.conn.execute("SELECT * FROM trainings")]
        assert [{name: row[name] for name in before[0]} for row in found] == before
        assert [row["network"] for row in found] == [
            "w16.32.32.32-n1-a0100", "w32.64.64.64-n1-a0100", "w8.8.8.8-n1-a0000", "w16.32.32.32-n2-a0100",
            "w16.32.32.32-n1-a0100",
        ]  # fmt: skip
        for name in ("mult_4", "mult_5", "attn_4", "attn_5"):
            assert {row[name] for row in found} == {None}
        assert db.conn.execute("PRAGMA foreign_keys").fetchone()[0] == 1
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            db.conn.execute("DELETE FROM trainings WHERE id = 1")


def test_the_journal_goes_on_where_the_trainings_were_written_anew(path: Path) -> None:
    frozen_memory(path, "m0011_standings").conn.close()
    with opened(path) as db:
        now = moment(db)
        db.conn.execute("UPDATE trainings SET loss = 0.5 WHERE id = 1")
        assert moment(db) == now + 1
        kept = db.conn.execute("SELECT before_json FROM journal ORDER BY id DESC").fetchone()[0]
        assert json.loads(kept)["network"] == "w16.32.32.32-n1-a0100"
    with past_of(path) as past:
        past.back_to(5)  # a moment before there were networks
        first = past.db.conn.execute("SELECT state, network, mult_3, mult_4 FROM trainings WHERE id = 1").fetchone()
        assert tuple(first) == ("running", "w16.32.32.32-n1-a0100", 2, None)


@pytest.mark.parametrize(
    ("spec", "numbers", "widths"),
    [
        ("b16-n1-m1.2.3-a010", (1, 2, 3, None, None, None), (16, 32, 48, None, None, None)),
        ("b64-n2-m1.1.2.2.4.4-a000011", (1, 1, 2, 2, 4, 4), (64, 64, 128, 128, 256, 256)),
    ],
)
def test_a_spec_of_other_stages_has_its_columns(
    fill: Any, search: int, spec: str, numbers: tuple[Any, ...], widths: tuple[Any, ...]
) -> None:
    fill.scored(search, 0, spec, 3.5)
    row = dict(fill.db.conn.execute("SELECT * FROM results").fetchone())
    assert (row["spec"], row["network"]) == (spec, network(UNetSpec.parse(spec), "ddpm"))
    assert tuple(row[f"mult_{stage}"] for stage in range(6)) == numbers
    assert tuple(row[f"width_{stage}"] for stage in range(6)) == widths
    assert sum(row[f"attn_{stage}"] is None for stage in range(6)) == numbers.count(None)
