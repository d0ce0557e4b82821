"""Searched strategies in memory: once per round and search, append-only, the latest measurement counts."""

import math
import sqlite3
from typing import Any

import pytest
from sqlite_utils import Database
from strategy_rows import STANDARD, make_tables

from diffusion.settings import Settings, Strategy
from memory.strategies import (
    AlreadyProposed,
    Measured,
    accept_strategy,
    add_measurement,
    measurement_failed,
    refusals,
    refused_strategies,
    same_strategy,
    strategies_of,
    strategy_fingerprint,
    strategy_in_round,
    training_speed,
)

RAPID = STANDARD.model_copy(update={"learning_rate": 2e-3, "train_steps": 50})
MEASURED = Measured(0.7, 0.4, 0.9, 120.0, 24)


@pytest.fixture
def tables(db: Database, fill: Any) -> Any:
    make_tables(db)
    return fill


def accept(db: Database, search: int, round_number: int, strategy: Strategy = RAPID, **changes: Any) -> int:
    values: dict[str, Any] = {"proposer": "openai:x", "raw_text": "{}", "reason": "Because.", "cost": 0.5}
    return accept_strategy(db, search, round_number, strategy=strategy, **{**values, **changes})


def test_an_accepted_strategy_is_read_as_it_was_written(db: Database, tables: Any, search: int) -> None:
    number = accept(db, search, 1)
    (found,) = strategies_of(db, search)
    assert found == strategy_in_round(db, search, 1) == same_strategy(db, search, RAPID)
    assert (found.id, found.round, found.proposer, found.reason, found.strategy) == (
        number, 1, "openai:x", "Because.", RAPID,
    )  # fmt: skip
    assert (found.cost, found.measured, found.error) == (0.5, None, None)


def test_the_same_strategy_again_in_its_round_is_the_row_that_is_there(db: Database, tables: Any, search: int) -> None:
    assert accept(db, search, 1) == accept(db, search, 1, reason="Again, after a kill.")
    assert tables.rows("SELECT count(*) FROM strategies") == [(1,)]


def test_another_round_cannot_have_it_and_another_search_can(db: Database, tables: Any, search: int) -> None:
    number = accept(db, search, 1)
    with pytest.raises(AlreadyProposed, match=f"strategy {number} of round 1") as taken:
        accept(db, search, 2)
    assert taken.value.known.id == number
    accept(db, tables.search(), 2)


def test_a_decay_beyond_what_the_averaging_comes_to_is_the_same_strategy(
    db: Database, tables: Any, search: int
) -> None:
    quick = RAPID.model_copy(update={"train_steps": 600, "ema_decay": 0.9999})
    assert quick.largest_decay == pytest.approx(600 / 609)
    accept_strategy(db, search, 1, proposer="a", raw_text="", reason=None, strategy=quick, cost=0.1)
    for decay, is_same in ((0.986, True), (0.99, True), (0.985, False), (0.9, False)):
        other = quick.model_copy(update={"ema_decay": decay})
        assert (same_strategy(db, search, other) is not None) is is_same


def test_a_round_has_one_strategy(db: Database, tables: Any, search: int) -> None:
    accept(db, search, 1)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        accept(db, search, 1, STANDARD)


def test_strategies_are_the_same_when_every_value_is() -> None:
    assert strategy_fingerprint(RAPID) == strategy_fingerprint(Strategy(**RAPID.model_dump()))
    for name in Strategy.model_fields:
        other = RAPID.model_copy(update={name: (getattr(RAPID, name) or 0) + 1})
        assert strategy_fingerprint(other) != strategy_fingerprint(RAPID), name


def test_they_are_listed_by_round(db: Database, tables: Any, search: int) -> None:
    for round_number in (2, 0, 1):
        accept(db, search, round_number, RAPID.model_copy(update={"train_steps": 10 + round_number}))
    assert [found.round for found in strategies_of(db, search)] == [0, 1, 2]


def test_the_latest_measurement_counts(db: Database, tables: Any, search: int) -> None:
    number = accept(db, search, 1)
    measurement_failed(db, number, "no space left on device")
    (found,) = strategies_of(db, search)
    assert (found.measured, found.error) == (None, "no space left on device")
    add_measurement(db, number, MEASURED)
    add_measurement(db, number, Measured(0.8, 0.6, 0.95, 240.0, 48))
    (found,) = strategies_of(db, search)
    assert (found.measured, found.error) == (Measured(0.8, 0.6, 0.95, 240.0, 48), None)
    assert found.measured is not None
    assert found.measured.seconds_each == 5.0


def test_a_tau_that_is_undefined_is_measured_all_the_same(db: Database, tables: Any, search: int) -> None:
    add_measurement(db, accept(db, search, 1), Measured(None, None, None, 9.0, 6))
    (found,) = strategies_of(db, search)
    assert str(found.measured) == "τ undefined over 6 specs"
    add_measurement(db, found.id, Measured(math.nan, math.nan, math.nan, 9.0, 7))
    assert strategies_of(db, search)[0].measured == Measured(None, None, None, 9.0, 7)


@pytest.mark.parametrize(
    "wrong",
    [
        Measured(0.7, 0.8, 0.9, 1.0, 24),
        Measured(0.7, 0.4, 0.6, 1.0, 24),
        Measured(1.2, 0.4, 1.3, 1.0, 24),
        Measured(-0.9, -1.1, 0.0, 1.0, 24),
        Measured(0.7, None, 0.9, 1.0, 24),
        Measured(None, 0.4, 0.9, 1.0, 24),
        Measured(0.7, 0.4, math.nan, 1.0, 24),
    ],
)
def test_an_interval_that_cannot_be_is_our_bug(db: Database, tables: Any, search: int, wrong: Measured) -> None:
    number = accept(db, search, 1)
    with pytest.raises(ValueError, match="τ"):
        add_measurement(db, number, wrong)
    assert tables.rows("SELECT count(*) FROM strategy_measurements") == [(0,)]


@pytest.mark.parametrize(
    "values",
    [
        "0.5, NULL, 0.9, 1.0, 5, NULL",  # τ without its lower end
        "0.5, 0.6, 0.9, 1.0, 5, NULL",  # an interval that does not hold it
        "0.5, 0.1, 0.9, 1.0, 5, 'lost'",  # a result with a reason for having none
        "1.5, 0.1, 1.9, 1.0, 5, NULL",
        "0.5, 0.1, 0.9, -1.0, 5, NULL",
    ],
)
def test_the_table_itself_takes_no_such_row(db: Database, tables: Any, search: int, values: str) -> None:
    accept(db, search, 1)
    columns = "tau, low, high, device_seconds, specs, error, strategy, created"
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        db.conn.execute(f"INSERT INTO strategy_measurements ({columns}) VALUES ({values}, 1, '')")


@pytest.mark.parametrize("table", ["strategies", "strategy_measurements"])
def test_neither_table_is_ever_rewritten(db: Database, tables: Any, search: int, table: str) -> None:
    add_measurement(db, accept(db, search, 1), MEASURED)
    for statement in (f"UPDATE {table} SET created = ''", f"DELETE FROM {table}"):
        with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"):
            db.conn.execute(statement)


def test_both_tables_are_strict_and_refer_to_what_they_belong_to(db: Database, tables: Any) -> None:
    names = ("strategies", "strategy_measurements")
    listed = {row["name"]: row["strict"] for row in db.conn.execute("PRAGMA table_list")}
    assert [listed[name] for name in names] == [1, 1]
    keys = {
        (name, key["from"], key["table"])
        for name in names
        for key in db.conn.execute(f"PRAGMA foreign_key_list({name})")
    }
    assert keys == {("strategies", "search", "searches"), ("strategy_measurements", "strategy", "strategies")}


def test_no_secret_is_stored(db: Database, tables: Any, search: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-some-length")
    text = "It is a-key-of-some-length."
    number = accept(db, search, 1, raw_text=text, reason=text, proposer=text)
    measurement_failed(db, number, text)
    rows = tables.rows("SELECT proposer, raw_text, reason, (SELECT error FROM strategy_measurements) FROM strategies")
    assert set(rows[0]) == {"It is [redacted]."}


def test_refused_proposals_are_those_of_the_search_newest_first(db: Database, tables: Any, search: int) -> None:
    for number in range(3):
        tables.refuse(search, 1, refusal=f"no {number}", kind="over_limit")
    tables.refuse(tables.search(), 1)
    assert [row["why"] for row in refused_strategies(db, search, 2)] == ["no 2", "no 1"]
    assert refusals(db, search) == 3


class TestTrainingSpeed:
    def finished(self, tables: Any, round_number: int, seconds: float, **changes: Any) -> None:
        """A training of 600 steps of 128 images."""
        from memory.trainings import training_finished, training_started

        search = tables.search()
        accepted = tables.accept(search, round_number, seed=round_number, **changes)
        training_started(tables.db, accepted.training)
        training_finished(tables.db, accepted.training, steps_done=600, loss=0.1, device_seconds=seconds)

    def speed(self, tables: Any, **changes: Any) -> Any:
        settings = tables.protocol.settings.model_copy(update=changes)
        return training_speed(tables.db, settings, tables.protocol.data_fingerprint)

    def test_it_is_all_seconds_over_all_images(self, tables: Any) -> None:
        assert self.speed(tables) is None
        self.finished(tables, 1, 30.0)
        self.finished(tables, 2, 60.0)
        assert self.speed(tables) == (90.0 / (2 * 600 * 128), 2)

    def test_other_settings_other_data_and_unfinished_trainings_do_not_count(self, tables: Any) -> None:
        self.finished(tables, 1, 30.0)
        tables.accept(tables.search(), 1, seed=9)
        assert self.speed(tables).trainings == 1
        assert self.speed(tables, family="iddpm") is None
        assert training_speed(tables.db, tables.protocol.settings, "e" * 12) is None

    def test_the_word_for_the_data_does_not_count(self, tables: Any) -> None:
        self.finished(tables, 1, 30.0)
        assert self.speed(tables, dataset="the-same-under-another-name").trainings == 1
        assert isinstance(tables.protocol.settings, Settings)
