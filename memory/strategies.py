"""Searched training strategies: what was accepted, who proposed it and why, its cost, how well it was seen to rank.

Round 0 is the standard strategy, which the costs are shares of. A round has one strategy, and a search each strategy
once; refused proposals are rows of `proposals` (`memory.trials.record_refusal`). Whether a strategy is allowed is
decided in `tools.propose_strategy`, how it is measured by whoever measures it.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlite_utils import Database

from diffusion.settings import Settings, Strategy, digest
from memory.connection import finite, insert, transaction, utc_now
from memory.redaction import redact, redact_optional


@dataclass(frozen=True)
class Measured:
    """How well a strategy ranks: Kendall's τ with the truth over `n` specs, its interval, and what it took.

    `device_seconds` are those of the n trainings together, with their scores; `tau` is None where it is undefined.
    """

    tau: float | None
    low: float | None
    high: float | None
    device_seconds: float
    n: int

    def __str__(self) -> str:
        if self.tau is None:
            return f"τ undefined over {self.n} specs"
        return f"τ {self.tau:.2f} [{self.low:.2f}, {self.high:.2f}] over {self.n} specs"

    @property
    def seconds_each(self) -> float | None:
        """Device-seconds of one training and its score."""
        return self.device_seconds / self.n if self.n else None


@dataclass(frozen=True)
class StoredStrategy:
    """An accepted strategy; `cost` is its share of the standard strategy's, `error` why it could not be measured."""

    id: int
    round: int
    proposer: str
    reason: str | None
    strategy: Strategy
    cost: float
    measured: Measured | None
    error: str | None


class Speed(NamedTuple):
    """How fast trainings were: device-seconds for each image that was trained on, over so many trainings."""

    seconds_per_image: float
    trainings: int


class AlreadyProposed(sqlite3.IntegrityError):
    """Another round of the search has this strategy. Nothing was written."""

    def __init__(self, known: StoredStrategy) -> None:
        super().__init__(f"it is strategy {known.id} of round {known.round}")
        self.known = known


def strategy_fingerprint(strategy: Strategy) -> str:
    """Twelve hex digits that two strategies share when all their values are equal."""
    return digest(strategy.model_dump(mode="json", exclude_none=True))


def accept_strategy(
    db: Database,
    search: int,
    round_number: int,
    *,
    proposer: str,
    raw_text: str,
    reason: str | None,
    strategy: Strategy,
    cost: float,
) -> int:
    """Keep the strategy of a round; gives its id. The same one again in the same round is the row that is there.

    Raises:
        AlreadyProposed: another round of the search has it.
        sqlite3.IntegrityError: the round has another one.
    """
    with transaction(db) as conn:
        known = same_strategy(db, search, strategy)
        if known is not None and known.round != round_number:
            raise AlreadyProposed(known)
        if known is not None:
            return known.id
        return insert(
            conn,
            "strategies",
            search=search,
            round=round_number,
            created=utc_now(),
            proposer=redact(proposer),
            raw_text=redact(raw_text),
            reason=redact_optional(reason),
            strategy_json=strategy.model_dump_json(),
            fingerprint=strategy_fingerprint(strategy),
            cost=cost,
        )


def add_measurement(db: Database, strategy: int, measured: Measured) -> None:
    """Keep how well a strategy ranks; of several measurements the latest counts.

    Raises:
        ValueError: the interval does not hold τ, or lacks an end.
    """
    numbers = [finite(value) for value in (measured.tau, measured.low, measured.high)]
    tau, low, high = numbers
    if None in numbers and any(number is not None for number in numbers):
        raise ValueError(f"τ, low and high go together, not {measured!r}")
    if tau is not None and low is not None and high is not None and not (-1 <= low <= tau <= high <= 1):
        raise ValueError(f"-1 ≤ low ≤ τ ≤ high ≤ 1 does not hold for {measured!r}")
    _add(db, strategy, tau=tau, low=low, high=high, device_seconds=measured.device_seconds, specs=measured.n)


def measurement_failed(db: Database, strategy: int, error: str) -> None:
    """Keep why a strategy could not be measured."""
    _add(db, strategy, device_seconds=0.0, specs=0, error=redact(error))


def _add(db: Database, strategy: int, **values: Any) -> None:
    with transaction(db) as conn:
        insert(conn, "strategy_measurements", strategy=strategy, created=utc_now(), **values)


def strategies_of(db: Database, search: int) -> list[StoredStrategy]:
    """The accepted strategies of a search by round, each with its latest measurement."""
    return list(_where(db, "strategies.search = ? ORDER BY strategies.round", [search]))


def strategy_in_round(db: Database, search: int, round_number: int) -> StoredStrategy | None:
    """The one strategy of a round, if a proposal was accepted in it."""
    return next(iter(_where(db, "strategies.search = ? AND strategies.round = ?", [search, round_number])), None)


def same_strategy(db: Database, search: int, strategy: Strategy) -> StoredStrategy | None:
    """The strategy of this search that trains the same, in whatever round."""
    wanted, known = strategy.as_trained, _where(db, "strategies.search = ?", [search])
    return next((each for each in known if each.strategy.as_trained == wanted), None)


def refused_strategies(db: Database, search: int, limit: int) -> list[dict[str, Any]]:
    """The latest proposals of a search that were refused, newest first: round, kind, proposer and the sentence."""
    rows = db.conn.execute(
        "SELECT id AS proposal, round, refusal_kind AS kind, proposer, refusal AS why FROM proposals"
        " WHERE search = ? AND accepted = 0 ORDER BY id DESC LIMIT ?",
        [search, limit],
    )
    return [dict(row) for row in rows]


def refusals(db: Database, search: int) -> int:
    """How many proposals of a search were refused."""
    counted = "SELECT count(*) FROM proposals WHERE search = ? AND accepted = 0"
    return int(db.conn.execute(counted, [search]).fetchone()[0])


def training_speed(db: Database, settings: Settings, data_fingerprint: str) -> Speed | None:
    """How fast the finished trainings of all searches were under these settings and on these data; None without any.

    It is a mean over whatever specs were trained: all their device-seconds over all their images.
    """
    rows = db.conn.execute(
        "SELECT settings_json, strategy_json, steps_done, device_seconds FROM trainings"
        " WHERE state = 'done' AND device_seconds > 0 AND data_fingerprint = ?",
        [data_fingerprint],
    )
    seconds, images, count = 0.0, 0, 0
    for row in rows:
        if not _same_settings(Settings.model_validate_json(row["settings_json"]), settings):
            continue
        seconds += row["device_seconds"]
        images += row["steps_done"] * Strategy.model_validate_json(row["strategy_json"]).batch_size
        count += 1
    return Speed(seconds / images, count) if images else None


def _same_settings(one: Settings, other: Settings) -> bool:
    """Whether two settings are the same; by which word the data were asked for does not count."""
    return one.model_copy(update={"dataset": other.dataset}) == other


def _where(db: Database, condition: str, values: Sequence[Any]) -> Iterable[StoredStrategy]:
    rows = db.conn.execute(
        "SELECT strategies.*, measured.id AS measurement, tau, low, high, device_seconds, specs, error"
        " FROM strategies LEFT JOIN strategy_measurements AS measured ON measured.id ="
        " (SELECT max(id) FROM strategy_measurements WHERE strategy = strategies.id)"
        f" WHERE {condition}",
        values,
    )
    for row in rows.fetchall():
        measured = None
        if row["measurement"] is not None and row["error"] is None:
            measured = Measured(row["tau"], row["low"], row["high"], row["device_seconds"], row["specs"])
        yield StoredStrategy(
            id=row["id"],
            round=row["round"],
            proposer=row["proposer"],
            reason=row["reason"],
            strategy=Strategy.model_validate_json(row["strategy_json"]),
            cost=row["cost"],
            measured=measured,
            error=row["error"],
        )
