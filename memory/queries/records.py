"""Records of trials: the best of a search or of the whole memory, the Pareto front, and one trial with all about it.

Each question is answered within one protocol, by default the search's own, since scores of two protocols do not
compare. The questions of a search look at its own trials, cached ones among them; ``scope="memory"`` looks at every
search's, each training once. Answers are lists of dictionaries that JSON can hold. The database picks and sorts
(`memory.schema.standings`), so a question costs what its answer holds, however large the memory. Free-form questions
stand in `memory.queries.sql`.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlite_utils import Database

from diffusion.networks import network
from diffusion.settings import Family
from diffusion.spec import UNetSpec
from memory.queries.ranking import BEST_FIRST, IS_SCORE, Record
from memory.replicas import seed_scores
from memory.schema.places import folder_of
from memory.searches import find_protocol, find_search
from memory.trainings import loss_curve
from memory.trials import find_trial

Scope = Literal["search", "memory"]

MOST_LOSSES = 1_000  # of a search, the latest ones

ONCE = """NOT EXISTS (
    SELECT 1 FROM standings AS other INDEXED BY standings_training
    WHERE other.training = seen.training AND other.protocol = seen.protocol AND
    (other.search <> :search, other.state = 'failed', other.trial)
    < (seen.search <> :search, seen.state = 'failed', seen.trial)
)"""
"""Each training once: as the trial of this search if it has one, else as the first one that is not failed."""


@dataclass(frozen=True)
class Seen:
    """Which rows a question looks at: a condition on `standings` or `all_results` AS seen, and the values in it.

    `by_score` is the index that has them, best first, where SQLite would not find it by itself.
    """

    where: str
    values: dict[str, Any]
    by_score: str = "standings_top"

    @property
    def scored(self) -> str:
        """The same for those with a score."""
        return f"{self.where} AND {IS_SCORE}"


def seen_by(db: Database, search: int, scope: Scope, protocol: str | None) -> Seen:
    """The trials in scope under the protocol.

    Raises:
        UserError: there is no such search or protocol.
    """
    if protocol is None:
        protocol = find_search(db, search).protocol
    else:
        find_protocol(db, protocol)
    which, by_score = ("seen.search = :search", "standings_best") if scope == "search" else (ONCE, "standings_top")
    return Seen(f"seen.protocol = :protocol AND {which}", {"protocol": protocol, "search": search}, by_score)


def best(
    db: Database, search: int, limit: int | None = 10, *, scope: Scope = "search", protocol: str | None = None
) -> list[Record]:
    """The scored trials, best first; without a limit all of them."""
    return _ranked(db, seen_by(db, search, scope, protocol), limit)


def top_records(db: Database, protocol: str | None = None, limit: int = 20) -> list[Record]:
    """The scored trials of all searches under one protocol, best first; by default that of the latest with a score.

    The latest search of all may be one of strategies, or a study, whose own trials stand under other protocols.

    Raises:
        UserError: no protocol of this memory has the fingerprint.
    """
    if protocol is None:
        protocol = _latest_scored(db) or find_search(db).protocol
    find_protocol(db, protocol)
    return _ranked(db, Seen("seen.protocol = :protocol", {"protocol": protocol}), limit)


def _latest_scored(db: Database) -> str | None:
    """The protocol of the latest search under whose protocol there is a score."""
    row = db.conn.execute(
        "SELECT protocol FROM searches WHERE EXISTS (SELECT 1 FROM standings AS seen"
        f" WHERE seen.protocol = searches.protocol AND {IS_SCORE}) ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return None if row is None else str(row[0])


def pareto(db: Database, search: int, *, scope: Scope = "search", protocol: str | None = None) -> list[Record]:
    """The scored trials that none beats in both score and MACs, cheapest first, by the search's counting convention.

    The front is walked from its best trial: its next point is the best among all that are cheaper.
    """
    cost, seen = find_search(db, search).macs_column, seen_by(db, search, scope, protocol)
    rows = db.conn.execute(
        f"""
        WITH RECURSIVE front (rfid, cost) AS (
            SELECT * FROM (
                SELECT rfid, {cost} FROM standings AS seen WHERE {seen.scored} ORDER BY rfid, {cost} LIMIT 1
            )
            UNION ALL
            SELECT point.rfid, point.{cost} FROM front JOIN standings AS point
            ON point.protocol = :protocol AND point.trial = (
                SELECT trial FROM standings AS seen
                WHERE seen.rfid > front.rfid AND seen.{cost} < front.cost AND {seen.scored}
                ORDER BY seen.rfid, seen.{cost} LIMIT 1
            )
        )
        SELECT seen.* FROM front CROSS JOIN all_results AS seen
        WHERE {seen.where} AND seen.rfid = front.rfid AND seen.{cost} = front.cost ORDER BY seen.{cost}, seen.trial
        """,
        seen.values,
    )
    return [shown(dict(row)) for row in rows]


def baseline(db: Database, search: int) -> Record | None:
    """The scored trial of round 0."""
    return next(iter(_by_round(db, search, "AND trials.round = 0", 1)), None)


def losses(db: Database, search: int) -> list[tuple[float, float]]:
    """The final loss and the score of the latest scored trials of a search."""
    seen = seen_by(db, search, "search", None)
    rows = db.conn.execute(
        "SELECT trainings.loss, seen.rfid FROM standings AS seen JOIN trainings ON trainings.id = seen.training"
        f" WHERE {seen.scored} AND trainings.loss IS NOT NULL ORDER BY seen.trial DESC LIMIT {MOST_LOSSES}",
        seen.values,
    )
    return [(float(loss), float(score)) for loss, score in rows]


def recent(db: Database, search: int, limit: int) -> list[Record]:
    """The scored trials of the last rounds, latest first."""
    return _by_round(db, search, "", limit)


def spec_in_search(db: Database, search: int, spec: UNetSpec) -> Record | None:
    """The record (view `results`) of a spec that this search has tried, in any spelling; the best if it has several."""
    names = [network(spec, family) for family in get_args(Family)]  # a search has trainings of one family alone
    row = db.conn.execute(
        "SELECT seen.* FROM trainings CROSS JOIN results AS seen ON seen.training = trainings.id"
        f" WHERE trainings.network IN ({', '.join('?' * len(names))}) AND seen.search = ?"
        f" ORDER BY NOT coalesce({IS_SCORE}, false), {BEST_FIRST} LIMIT 1",
        [*names, search],
    ).fetchone()
    return None if row is None else dict(row)


def show_trial(db: Database, trial: int) -> Record:
    """Everything about one trial: its record, proposal, training, protocol and scores under every protocol."""
    found = find_trial(db, trial)
    record = dict(db.conn.execute("SELECT * FROM results WHERE trial = ?", [trial]).fetchone())
    proposal = dict(db.conn.execute("SELECT * FROM proposals WHERE id = ?", [found.proposal]).fetchone())
    training = dict(db.conn.execute("SELECT * FROM trainings WHERE id = ?", [found.training]).fetchone())
    scores = db.conn.execute("SELECT * FROM scores WHERE training = ? ORDER BY id", [found.training])
    return {
        **shown(record),
        "search_name": record["search_name"],
        "finished": record["finished"],
        "proposal": proposal,
        "training": _unpacked({**training, "run_folder": str(folder_of(db.conn, training["run_folder"]))}),
        "loss_curve": [list(point) for point in loss_curve(db, found.training)],
        "scores": [_unpacked(dict(row)) for row in scores],
        "seed_scores": seed_scores(db, found.search).get(str(found.spec), []),
        "protocol_content": find_protocol(db, record["protocol"]).model_dump(mode="json"),
    }


def shown(record: Record) -> Record:
    """A row of `all_results` in the shape that scripts rely on (`memory top --json`), and a little more."""
    same = (
        "trial", "search", "round", "spec", "family", "dataset", "rfid", "metric", "params", "protocol", "seed",
        "state", "proposer", "reason", "device_seconds", "error", "created",
    )  # fmt: skip
    return {
        **{name: record[name] for name in same},
        "macs": {"paper": record["macs_paper"], "total": record["macs_total"]},
        "cached": bool(record["cached"]),
        "loss": record["loss"],
        "train": record["train"],
        "ci95": None if record["ci_low"] is None else [record["ci_low"], record["ci_high"]],
        "verdict": {
            "baseline": record["versus_baseline"] or "unmeasured",
            "incumbent": record["versus_incumbent"] or "unmeasured",
        },
    }


def _ranked(db: Database, seen: Seen, limit: int | None) -> list[Record]:
    rows = db.conn.execute(
        f"SELECT * FROM all_results AS seen WHERE {seen.scored} ORDER BY {BEST_FIRST} LIMIT :limit",
        {**seen.values, "limit": -1 if limit is None else limit},
    )
    return [shown(dict(row)) for row in rows]


def _by_round(db: Database, search: int, condition: str, limit: int) -> list[Record]:
    """The scored trials of a search under its own protocol, the latest round first."""
    seen = seen_by(db, search, "search", None)
    rows = db.conn.execute(
        "SELECT seen.* FROM trials CROSS JOIN all_results AS seen ON seen.trial = trials.id"
        f" WHERE trials.search = :search AND {seen.scored} {condition} ORDER BY trials.round DESC LIMIT :limit",
        {**seen.values, "limit": limit},
    )
    return [shown(dict(row)) for row in rows]


def _unpacked(row: Record) -> Record:
    """A row whose ``*_json`` columns are values instead of text."""
    return {
        name.removesuffix("_json"): json.loads(value) if name.endswith("_json") else value
        for name, value in row.items()
    }
