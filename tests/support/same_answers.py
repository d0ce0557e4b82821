"""Checks that a memory answers as one that reads all its rows (`plain_queries`) would."""

from typing import Any

import plain_queries as plain
import pytest
from sqlite_utils import Database

from diffusion.spec import UNetSpec
from memory.queries import effect, progress, records, similar
from memory.schema.standings import standings_of, totals_of


def check_answers(db: Database) -> None:
    """Every question of every search, in both scopes and under both protocols."""
    protocols = [row["fingerprint"] for row in db.conn.execute("SELECT fingerprint FROM protocols")]
    for protocol in protocols:
        for limit in (1, 4, 100):
            assert records.top_records(db, protocol, limit) == plain.top_records(db, protocol, limit)
    for (search,) in db.conn.execute("SELECT id FROM searches").fetchall():
        assert progress.search_counts(db, search) == plain.search_counts(db, search)
        for limit in (1, 3, 100):
            assert progress.failures(db, search, limit) == plain.failures(db, search, limit)
        for protocol in (None, *protocols):
            check_search(db, search, {"scope": "search", "protocol": protocol})
            check_search(db, search, {"scope": "memory", "protocol": protocol})
        check_round(db, search)


def check_search(db: Database, search: int, asked: Any) -> None:
    for limit in (1, 3, None):
        assert records.best(db, search, limit, **asked) == plain.best(db, search, limit, **asked)
    assert records.pareto(db, search, **asked) == plain.pareto(db, search, **asked)
    for spec in (UNetSpec.parse("b16-n2-m1.2.2.2-a1001"), UNetSpec.parse("b1024-n8-m8.8.8-a111")):
        for limit in (1, 4, 100):
            found = similar.similar(db, search, spec, limit, **asked)
            assert found == plain.similar(db, search, spec, limit, **asked)
    for parameter in effect.TOLD:
        found = effect.effect(db, search, parameter, **asked)
        wanted = plain.effect(db, search, parameter, **asked)
        # a mean of n scores may be rounded n times, by 1.1e-16 each
        assert [close(row) for row in found] == [close(row) for row in wanted]


def check_round(db: Database, search: int) -> None:
    """What the digest asks beside the typed questions."""
    scored = plain.best(db, search, None)
    assert records.baseline(db, search) == next((row for row in scored if row["round"] == 0), None)
    assert records.recent(db, search, 3) == sorted(scored, key=lambda row: -row["round"])[:3]
    for name, found in effect.means(db, search).items():
        wanted = [row for row in plain.effect(db, search, name) if row["kind"] == "value"]
        assert [(each.value, each.trials) for each in found] == [(row["value"], row["count"]) for row in wanted]
        assert [each.mean for each in found] == pytest.approx([row["mean"] for row in wanted], rel=1e-14)


def close(row: dict[str, Any]) -> dict[str, Any]:
    return {name: pytest.approx(value, rel=1e-14) if name.startswith("mean") else value for name, value in row.items()}


def check_derived(db: Database) -> None:
    """What triggers have written is what the tables below say."""
    for table, written in (("standings", standings_of("true")), ("ledger_totals", totals_of("true"))):
        kept = [tuple(row) for row in db.conn.execute(f"SELECT * FROM {table}")]
        db.conn.execute("BEGIN")
        db.conn.execute(f"DELETE FROM {table}")
        db.conn.execute(written)
        assert [tuple(row) for row in db.conn.execute(f"SELECT * FROM {table}")] == kept
        db.conn.execute("ROLLBACK")
