import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from memory.connection import opened
from memory.file.waiting import PatientConnection
from memory.queries.sql import CELL_CHARACTERS, SqlRefused, read_only_sql


@pytest.fixture
def filled(fill: Any, search: int) -> Any:
    fill.scored(search, 0, fill.spec, 4.0)
    fill.scored(search, 1, "b32-n1-m1.2.2.2-a0100", 3.0)
    return fill


# Without the authorizer every one of these runs: a read-only connection alone refuses none of them.
ONLY_THE_AUTHORIZER_REFUSES = {
    "SELECT request_json FROM model_calls": "the table model_calls may not be read; read from results",
    "SELECT count(*) FROM model_calls": "the table model_calls may not be read",
    "SELECT m.id FROM trials AS t JOIN main.MODEL_CALLS AS m": "the table model_calls may not be read",
    "SELECT lease_token FROM searches": "the column searches.lease_token may not be read; name those you need of id",
    "SELECT * FROM searches": "the column searches.lease_token may not be read",
    "SELECT name FROM trials JOIN _sqlite_migrations": "the table _sqlite_migrations may not be read",
    "SELECT before_json FROM journal": "the table journal may not be read",
    "SELECT zeroblob(900000)": "the function zeroblob() may not be used; usable are ",
    "SELECT name FROM pragma_database_list": "may not be",
    "PRAGMA query_only = OFF": "PRAGMA may not be used",
    "ATTACH ':memory:' AS other": "ATTACH may not be used",
    "BEGIN": "TRANSACTION may not be used",
    "SAVEPOINT here": "SAVEPOINT may not be used",
}

ALSO_REFUSED_BY_OTHER_MEANS = {
    "DELETE FROM trials": "DELETE may not be used",
    "UPDATE searches SET state = 'failed'": "UPDATE may not be used",
    "INSERT INTO messages (text) VALUES ('x')": "INSERT may not be used",
    "WITH x AS (SELECT 1) DELETE FROM trials": "DELETE may not be used",
    "CREATE TEMP TABLE x (y)": "may not be used; write one SELECT",
    "DROP TABLE trials": "may not be used; write one SELECT",
    "VACUUM INTO 'copy.db'": "ATTACH may not be used",
    "REINDEX": "REINDEX may not be used",
    "SELECT load_extension('x')": "the function load_extension() may not be used",
    "SELECT readfile('/etc/passwd')": "no such function: readfile; usable are ",
    "SELECT 1; SELECT 2": "the SQL holds more than one statement",
    "SELECT 1; DELETE FROM trials": "the SQL holds more than one statement",
}


@pytest.mark.parametrize(("text", "sentence"), {**ONLY_THE_AUTHORIZER_REFUSES, **ALSO_REFUSED_BY_OTHER_MEANS}.items())
def test_what_is_more_than_reading_is_refused(path: Path, filled: Any, text: str, sentence: str) -> None:
    before = filled.rows("SELECT count(*) FROM trials")
    with pytest.raises(SqlRefused) as raised:
        read_only_sql(path, text)
    assert sentence in str(raised.value)
    assert filled.rows("SELECT count(*) FROM trials") == before
    assert not Path("copy.db").exists()


@pytest.mark.parametrize("text", ONLY_THE_AUTHORIZER_REFUSES)
def test_without_the_authorizer_it_would_run(path: Path, filled: Any, text: str) -> None:
    with opened(path, read_only=True) as db:
        db.conn.execute(text)  # shows that the test above tests the authorizer
        if db.conn.in_transaction:
            db.conn.rollback()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("SELECT trial, rfid FROM results ORDER BY rfid", [{"trial": 2, "rfid": 3.0}, {"trial": 1, "rfid": 4.0}]),
        ("WITH q AS (SELECT rfid FROM results) SELECT count(*) AS n FROM q", [{"n": 2}]),
        ("SELECT max(rfid) - min(rfid) AS d FROM results WHERE spec LIKE 'b%' AND spec GLOB '*-a0100';", [{"d": 1.0}]),
        ("SELECT rank() OVER (ORDER BY rfid) AS r FROM results ORDER BY trial", [{"r": 2}, {"r": 1}]),
        ("SELECT s.id, t.id FROM searches AS s JOIN trials AS t ON t.search = s.id LIMIT 1", [{"id": 1, "id_2": 1}]),
        ("SELECT strategy_json ->> 'train_steps' AS steps FROM trainings LIMIT 1", [{"steps": 600}]),
        (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT sum(i) AS s FROM n",
            [{"s": 6}],
        ),
        ("SELECT x'00ff' AS b, 9e999 AS i, NULL AS n", [{"b": "<2 bytes>", "i": "inf", "n": None}]),
        ("-- a comment\nSELECT name FROM searches", [{"name": "digits-1"}]),
        ("SELECT trial FROM results WHERE rfid < 0", []),
    ],
)
def test_reading_is_allowed(path: Path, filled: Any, text: str, rows: list[dict[str, Any]]) -> None:
    assert read_only_sql(path, text) == rows


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the SQL gives no rows; write one SELECT"),
        (" ; ", "the SQL gives no rows; write one SELECT"),
        ("SELEC 1", 'near "SELEC": syntax error; write one SELECT'),
        ("SELECT 1 FROM trial", "no such table: trial; there are results, all_results, verdicts, trials, trainings"),
        ("SELECT score FROM results", "no such column: score; results has trial, search, search_name, round, spec"),
        ("SELECT t.x FROM trials AS t", "no such column: t.x; trials has id, search, round"),
        ("SELECT median(rfid) FROM results", "no such function: median; usable are ->, ->>, abs"),
        ("SELECT '\ud800'", "write one SELECT"),
        ("SELECT '\0'", "write one SELECT"),
        ("SELECT 1 --" + "x" * 30_000, "write one SELECT"),
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(path: Path, filled: Any, text: str, sentence: str) -> None:
    with pytest.raises(SqlRefused) as raised:
        read_only_sql(path, text)
    assert sentence in str(raised.value)
    assert "lease" not in str(raised.value)


def test_a_statement_that_takes_too_long_is_stopped(path: Path, filled: Any) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    started = time.monotonic()
    with pytest.raises(SqlRefused, match=r"took longer than 0\.1 s; ask for less"):
        read_only_sql(path, endless, max_seconds=0.1)
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize(
    "text",
    [
        "SELECT length(replace(printf('%.{n}c', 'a'), printf('%.{m}c', 'a') || 'b', ''))",
        "SELECT instr(printf('%.{n}c', 'a'), printf('%.{m}c', 'a') || 'b')",
        "SELECT length(group_concat(printf('%.{n}c', 'a'))) FROM trials",
        "SELECT instr(hex(printf('%.{m}c', 'a')), hex(printf('%.{m}c', 'a') || 'b'))",
        "SELECT quote(printf('%999999999d', 1))",
    ],
)
def test_no_function_takes_long_of_itself(path: Path, filled: Any, text: str) -> None:
    for size in (190_000, 999_000):  # the clock is looked at between functions, not within one
        started = time.monotonic()
        with suppress(SqlRefused):
            read_only_sql(path, text.format(n=size, m=size // 2 - 10))
        assert time.monotonic() - started < 4


def test_rows_and_cells_are_bounded(path: Path, filled: Any, search: int) -> None:
    filled.refuse(search, 7, raw_text="x" * 10_000)
    (row,) = read_only_sql(path, "SELECT raw_text FROM proposals WHERE round = 7")
    assert row["raw_text"] == "x" * CELL_CHARACTERS + "…"
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    assert read_only_sql(path, many, max_rows=3) == [{"i": 1}, {"i": 2}, {"i": 3}]
    for large in ("SELECT replace(printf('%190000d', 1), ' ', '----')", f"SELECT {'1,' * 200} 1"):
        with pytest.raises(SqlRefused):
            read_only_sql(path, large)


def test_reading_does_not_wait_for_a_writer(path: Path, filled: Any) -> None:
    filled.db.conn.execute("BEGIN IMMEDIATE")
    assert read_only_sql(path, "SELECT count(*) AS n FROM results") == [{"n": 2}]
    filled.db.conn.execute("ROLLBACK")


def test_the_connection_is_closed_after_a_refusal(path: Path, filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Watched(PatientConnection):
        def close(self) -> None:
            closed.append(self)
            super().close()

    monkeypatch.setattr("memory.file.opening.PatientConnection", Watched)
    with pytest.raises(SqlRefused):
        read_only_sql(path, "DELETE FROM trials")
    assert len(closed) == 1
