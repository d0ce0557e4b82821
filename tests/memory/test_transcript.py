import json
import sqlite3
from typing import Any

import pytest

from memory.ledger import Ledger, totals
from memory.transcript import add_message, recent_messages, record_call

CALL: dict[str, Any] = {
    "purpose": "propose",
    "model": "openai:some",
    "request": {"messages": [{"role": "user", "content": "go on"}]},
    "response": {"content": "b16-…"},
    "error": None,
    "input_tokens": 100,
    "output_tokens": 20,
    "cost_usd": 0.5,
    "seconds": 1.5,
}


def test_a_call_is_kept_and_charged(fill: Any, search: int) -> None:
    assert record_call(fill.db, search, 3, **CALL) == 1
    row = dict(fill.db.conn.execute("SELECT * FROM model_calls").fetchone())
    assert json.loads(row["request_json"]) == CALL["request"]
    assert (row["round"], json.loads(row["response_json"])) == (3, CALL["response"])
    assert totals(fill.db, search) == Ledger(input_tokens=100, output_tokens=20, cost_usd=0.5)


def test_a_call_without_an_answer_is_a_row_too(fill: Any, search: int) -> None:
    unanswered = {"response": None, "error": "HTTP 429", "input_tokens": None, "output_tokens": None, "cost_usd": None}
    record_call(fill.db, search, None, **{**CALL, **unanswered})
    assert fill.rows("SELECT response_json, error, input_tokens FROM model_calls") == [(None, "HTTP 429", None)]
    assert totals(fill.db, search) == Ledger(cost_usd=None)


def test_a_call_that_cannot_be_charged_is_not_kept(fill: Any, search: int) -> None:
    fill.db.conn.execute("CREATE TEMP TRIGGER broken BEFORE INSERT ON ledger BEGIN SELECT RAISE(ABORT, 'broken'); END")
    with pytest.raises(sqlite3.IntegrityError, match="broken"):
        record_call(fill.db, search, 0, **CALL)
    assert fill.rows("SELECT * FROM model_calls") == []


def test_the_last_messages_come_oldest_first(fill: Any, search: int) -> None:
    for number in range(4):
        add_message(fill.db, search, "user", f"message {number}", round_number=number)
    add_message(fill.db, fill.search(), "user", "of another search")
    found = recent_messages(fill.db, search, limit=2)
    assert [(row["text"], row["author"], row["round"]) for row in found] == [
        ("message 2", "user", 2),
        ("message 3", "user", 3),
    ]
