"""Replicas: a trial's spec trained again with another seed, to know what retraining alone does to a score.

A replica belongs to one search and to one of its trials, uses the stored training of its key like a trial does, and is
made once. Its score stands in `scores` like any other. The verdict of a trial is written once, when it is scored: taken
anew with more replicas it would be another look, which what is promised of it (`diffusion.statistics.noise`) does not
cover.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from diffusion.settings import TrainJob
from diffusion.spec import UNetSpec
from memory.connection import insert, transaction, utc_now
from memory.redaction import redact
from memory.schema.places import folder_of
from memory.trainings import training_of

ReplicaState = Literal["running", "scored", "failed"]


@dataclass(frozen=True)
class Replica:
    """A replica with its training."""

    id: int
    search: int
    trial: int
    training: int
    state: ReplicaState
    spec: UNetSpec
    seed: int
    run_folder: Path
    training_state: str
    device_seconds: float
    steps_done: int
    error: str | None


def add_replica(db: Database, search: int, trial: int, job: TrainJob, costs: dict[str, int]) -> Replica:
    """The replica of a trial for this job's seed, made if it is not there; one that failed before is tried again."""
    with transaction(db) as conn:
        training = training_of(conn, job, costs)
        found = conn.execute(
            "SELECT id FROM replicas WHERE search = ? AND training = ?", [search, training["id"]]
        ).fetchone()
        replica = (
            found["id"]
            if found
            else insert(
                conn,
                "replicas",
                search=search,
                trial=trial,
                training=training["id"],
                state="running",
                created=utc_now(),
            )
        )
        conn.execute(
            "UPDATE replicas SET state = 'running', error = NULL, finished = NULL WHERE id = ? AND state = 'failed'",
            [replica],
        )
    return find_replica(db, replica)


def find_replica(db: Database, replica: int) -> Replica:
    """The replica of a number.

    Raises:
        LookupError: there is none.
    """
    found = _replicas(db, "replicas.id = ?", [replica])
    if not found:
        raise LookupError(f"there is no replica {replica}")
    return found[0]


def replicas_of(db: Database, search: int) -> list[Replica]:
    """All replicas of a search, oldest first."""
    return _replicas(db, "replicas.search = ?", [search])


def replica_scored(db: Database, replica: int) -> None:
    """It has a score."""
    _end(db, replica, "scored", None)


def replica_failed(db: Database, replica: int, error: str) -> None:
    """It has none, for this reason."""
    _end(db, replica, "failed", redact(error))


def said_of_seeds(scores: Sequence[float | None]) -> str | None:
    """All scores of a spec by its training seeds, and their mean, in words; None of fewer than two."""
    found = [score for score in scores if score is not None]
    if len(found) < 2:
        return None
    return f"{', '.join(f'{score:.4g}' for score in found)}; mean {sum(found) / len(found):.4g}"


def seed_scores(db: Database, search: int, *, replicated: bool = False) -> dict[str, list[float | None]]:
    """The scores of each spec of a search by training seed, under its protocol: the trial's first, then its replicas'.

    A failed one is None; one that is not over yet is not there. With `replicated` only specs that have replicas. The
    spec is the trial's: a replica may use a training of another spelling.
    """
    which = "AND trials.id IN (SELECT trial FROM replicas WHERE search = :search)" if replicated else ""
    rows = db.conn.execute(
        f"""
        SELECT named.spec AS spec, members.state AS state, (
            SELECT avg(value) FROM scores WHERE scores.training = members.training AND scores.protocol =
            searches.protocol) AS value
        FROM (
            SELECT id AS trial, search, training, state, 0 AS place FROM trials
            WHERE state IN ('scored', 'failed') AND search = :search {which}
            UNION ALL SELECT trial, search, training, state, 1 FROM replicas
            WHERE state IN ('scored', 'failed') AND search = :search
        ) AS members
        JOIN trials AS first ON first.id = members.trial JOIN trainings AS named ON named.id = first.training
        JOIN trainings ON trainings.id = members.training JOIN searches ON searches.id = members.search
        ORDER BY named.spec, place, trainings.seed
        """,
        {"search": search},
    )
    found: dict[str, list[float | None]] = {}
    for row in rows:
        found.setdefault(row["spec"], []).append(row["value"] if row["state"] == "scored" else None)
    return found


def write_verdict(db: Database, trial: int, values: dict[str, Any]) -> None:
    """Keep what was said of a trial when it was scored; said again, the first one stays."""
    with transaction(db) as conn:
        if conn.execute("SELECT 1 FROM verdicts WHERE trial = ?", [trial]).fetchone() is None:
            insert(conn, "verdicts", trial=trial, created=utc_now(), **values)


def _end(db: Database, replica: int, state: ReplicaState, error: str | None) -> None:
    with transaction(db) as conn:
        conn.execute(
            "UPDATE replicas SET state = ?, error = ?, finished = ? WHERE id = ?", [state, error, utc_now(), replica]
        )


def _replicas(db: Database, condition: str, values: list[Any]) -> list[Replica]:
    rows = db.conn.execute(
        "SELECT replicas.id, replicas.search, replicas.trial, replicas.training, replicas.state, replicas.error,"
        " trainings.spec, trainings.seed, trainings.run_folder, trainings.state AS training_state,"
        " trainings.device_seconds, trainings.steps_done FROM replicas"
        f" JOIN trainings ON trainings.id = replicas.training WHERE {condition} ORDER BY replicas.id",
        values,
    )
    found = []
    for row in rows:
        parsed = {"spec": UNetSpec.parse(row["spec"]), "run_folder": folder_of(db.conn, row["run_folder"])}
        found.append(Replica(**{**dict(row), **parsed}))
    return found
