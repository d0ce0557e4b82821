"""Proposals, trainings, trials and scores: what was asked for, what was refused, what was measured.

Accepting a proposal is one transaction, and every step after it may be repeated: a process killed at any instant and
run again writes the same rows once. States only move forwards; a move backwards is our bug and raises. Nothing here
decides whether a proposal is allowed (`tools.gates` does) or ranks anything (`memory.ranking` does).
"""

import math
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from diffusion.errors import UserError
from diffusion.settings import Protocol, TrainJob
from diffusion.spec import PARAMETERS, UNetSpec
from memory.clock import utc_now
from memory.connection import insert, transaction
from memory.ranking import ranked
from memory.redaction import redact, redact_optional, redacted_json
from memory.searches import store_protocol

TrialState = Literal["running", "trained", "scored", "failed"]
TrainingState = Literal["queued", "running", "done", "failed"]
LARGEST_ID = 2**63 - 1  # SQLite's integers


@dataclass(frozen=True)
class AcceptedTrial:
    """What an accepted proposal became; `run_folder` is where its training lies or will lie."""

    trial: int
    training: int
    cached: bool
    run_folder: Path


@dataclass(frozen=True)
class Trial:
    """A trial with its proposal and its training."""

    id: int
    search: int
    round: int
    proposal: int
    training: int
    state: TrialState
    cached: bool
    created: str
    finished: str | None
    error: str | None
    spec: UNetSpec
    proposer: str
    reason: str | None
    key: str
    run_folder: Path
    training_state: TrainingState
    seed: int
    steps_done: int
    loss: float | None
    device_seconds: float
    macs_paper: int
    macs_total: int
    params: int


@dataclass(frozen=True)
class Score:
    """The score of a training under one protocol: the mean over its sampling seeds at the last step."""

    value: float | None
    metric: str
    step: int
    num_images: int
    sampling_seeds: int
    device_seconds: float


def record_refusal(
    db: Database,
    search: int,
    round_number: int,
    *,
    proposer: str,
    raw_text: str,
    spec: UNetSpec | None,
    reason: str | None,
    refusal: str,
    kind: str,
) -> int:
    """Keep a refused proposal; gives its id."""
    with transaction(db) as conn:
        return _add_proposal(conn, search, round_number, proposer, raw_text, spec, reason, refusal, kind)


def accept_proposal(
    db: Database,
    search: int,
    round_number: int,
    *,
    proposer: str,
    raw_text: str,
    reason: str | None,
    job: TrainJob,
    costs: dict[str, int],
) -> AcceptedTrial:
    """Turn a proposal into a trial of the round, with a new training or the stored one of the same key.

    Asking again for the same job in the same round gives the trial that is there already; a round has one trial, so
    another job raises `sqlite3.IntegrityError`.
    """
    with transaction(db) as conn:
        existing = trial_in_round(db, search, round_number)
        if existing is not None and existing.key == job.key:
            return AcceptedTrial(existing.id, existing.training, existing.cached, existing.run_folder)
        proposal = _add_proposal(conn, search, round_number, proposer, raw_text, job.spec, reason, None, None)
        training = _training_of(conn, job, costs)
        cached = training["state"] == "done"
        now = utc_now()
        trial = insert(
            conn,
            "trials",
            search=search,
            round=round_number,
            proposal=proposal,
            training=training["id"],
            state="trained" if cached else "running",
            cached=cached,
            created=now,
        )
        return AcceptedTrial(trial, training["id"], cached, Path(training["run_folder"]))


def training_started(db: Database, training: int) -> None:
    """A process works on it now; a finished training stays finished."""
    _move_training(db, training, "state = 'running', error = NULL", [])


def training_finished(
    db: Database, training: int, *, steps_done: int, loss: float | None, device_seconds: float
) -> None:
    """The weights are there. `device_seconds` counts the whole training, over all its interruptions."""
    _move_training(
        db,
        training,
        "state = 'done', error = NULL, steps_done = ?, loss = ?, device_seconds = ?, finished = ?",
        [steps_done, _finite(loss), device_seconds, utc_now()],
    )


def training_failed(db: Database, training: int, error: str, device_seconds: float) -> None:
    """It gives no model; a later trial of the same key tries again."""
    _move_training(
        db,
        training,
        "state = 'failed', error = ?, device_seconds = ?, finished = ?",
        [redact(error), device_seconds, utc_now()],
    )


def find_training(db: Database, key: str) -> dict[str, Any] | None:
    """The stored training of a key, whatever its state."""
    row = db.conn.execute("SELECT * FROM trainings WHERE key = ?", [key]).fetchone()
    return None if row is None else dict(row)


def training_lost(db: Database, training: int, run_folder: Path) -> None:
    """Its weights are gone from the disk: to be trained anew in `run_folder`. Scores, once measured, stay."""
    with transaction(db) as conn:
        conn.execute(
            "UPDATE trainings SET state = 'queued', steps_done = 0, finished = NULL, run_folder = ? WHERE id = ?",
            [os.path.abspath(run_folder), training],
        )


def trial_trained(db: Database, trial: int) -> None:
    """Its training is done, its score is not; a trial that is further stays there."""
    _move_trial(db, trial, "trained", allowed=("running", "trained", "scored"), stays=("trained", "scored"))


def trial_scored(db: Database, trial: int) -> None:
    """The trial is over, with a score."""
    _move_trial(db, trial, "scored", allowed=("running", "trained", "scored"), stays=("scored",))


def trial_failed(db: Database, trial: int, error: str) -> None:
    """The trial is over, without a score; the first reason stays."""
    _move_trial(db, trial, "failed", allowed=("running", "trained", "failed"), stays=("failed",), error=redact(error))


def add_score(
    db: Database,
    training: int,
    *,
    step: int,
    protocol: Protocol,
    sampling_seed: int,
    metric: str,
    value: float | None,
    num_images: int,
    device_seconds: float,
    extra: dict[str, Any] | None = None,
) -> int:
    """Keep one measurement; measured again, the first one stays. A value that is not finite is stored as none."""
    with transaction(db) as conn:
        key = [training, step, store_protocol(db, protocol), sampling_seed, metric]
        conn.execute(
            "INSERT INTO scores (training, step, protocol, sampling_seed, metric, value, num_images, device_seconds,"
            " extra_json, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (training, step, protocol, sampling_seed, metric) DO NOTHING",
            [*key, _finite(value), num_images, device_seconds, redacted_json(extra or {}), utc_now()],
        )
        row = conn.execute(
            "SELECT id FROM scores WHERE training = ? AND step = ? AND protocol = ? AND sampling_seed = ?"
            " AND metric = ?",
            key,
        ).fetchone()
        return int(row["id"])


def find_trial(db: Database, trial: int) -> Trial:
    """The trial of a number.

    Raises:
        UserError: there is none of it.
    """
    found = _trial_where(db, "trials.id = ?", [trial]) if 0 < trial <= LARGEST_ID else None
    if found is None:
        last = db.conn.execute("SELECT max(id) FROM trials").fetchone()[0]
        known = f"the latest is {last}" if last else "it holds none yet"
        raise UserError(f"'{trial}' is not a trial of this memory; {known}")
    return found


def trial_in_round(db: Database, search: int, round_number: int) -> Trial | None:
    """The one trial of a round, if a proposal was accepted in it."""
    return _trial_where(db, "trials.search = ? AND trials.round = ?", [search, round_number])


def spec_in_search(db: Database, search: int, spec: UNetSpec) -> dict[str, Any] | None:
    """The record (view `results`) of a spec that this search has tried, its best one if it has several."""
    rows = db.conn.execute("SELECT * FROM results WHERE search = ? AND spec = ? ORDER BY trial", [search, str(spec)])
    found = ranked([dict(row) for row in rows])
    return found[0] if found else None


def score_of(db: Database, training: int, protocol: str) -> Score | None:
    """What a training scored under a protocol's fingerprint, or None if it was never measured."""
    row = db.conn.execute(
        "SELECT avg(value) AS value, scores.metric AS metric, step, max(num_images) AS num_images,"
        " count(value) AS sampling_seeds, sum(device_seconds) AS device_seconds"
        " FROM scores JOIN protocols ON protocols.fingerprint = scores.protocol AND protocols.metric = scores.metric"
        " WHERE training = ? AND protocol = ? GROUP BY step ORDER BY step DESC LIMIT 1",
        [training, protocol],
    ).fetchone()
    return None if row is None else Score(**dict(row))


def refusals_in_round(db: Database, search: int, round_number: int) -> int:
    """How many proposals of the round were refused."""
    return _count(db, "proposals WHERE search = ? AND round = ? AND accepted = 0", [search, round_number])


def rounds_done(db: Database, search: int) -> int:
    """The highest round whose trial is scored or failed; -1 before the baseline is."""
    row = db.conn.execute(
        "SELECT max(round) FROM trials WHERE search = ? AND state IN ('scored', 'failed')", [search]
    ).fetchone()
    return -1 if row[0] is None else int(row[0])


def _add_proposal(
    conn: sqlite3.Connection,
    search: int,
    round_number: int,
    proposer: str,
    raw_text: str,
    spec: UNetSpec | None,
    reason: str | None,
    refusal: str | None,
    kind: str | None,
) -> int:
    last = conn.execute(
        "SELECT max(attempt) FROM proposals WHERE search = ? AND round = ?", [search, round_number]
    ).fetchone()[0]
    return insert(
        conn,
        "proposals",
        search=search,
        round=round_number,
        attempt=(last or 0) + 1,
        created=utc_now(),
        proposer=redact(proposer),
        raw_text=redact(raw_text),
        spec=None if spec is None else str(spec),
        accepted=refusal is None,
        reason=redact_optional(reason),
        refusal=redact_optional(refusal),
        refusal_kind=kind,
    )


def _training_of(conn: sqlite3.Connection, job: TrainJob, costs: dict[str, int]) -> sqlite3.Row:
    """The stored training of the job's key, a failed one queued again, or a new one."""
    folder = os.path.abspath(job.run_folder)
    conn.execute(
        "UPDATE trainings SET state = 'queued', error = NULL, finished = NULL, run_folder = ?"
        " WHERE key = ? AND state = 'failed'",
        [folder, job.key],
    )
    if not conn.execute("SELECT 1 FROM trainings WHERE key = ?", [job.key]).fetchone():
        insert(
            conn,
            "trainings",
            key=job.key,
            spec=str(job.spec),
            **dict(zip(PARAMETERS, job.spec.row, strict=True)),
            family=job.settings.family,
            dataset=job.settings.dataset,
            data_fingerprint=job.data_fingerprint,
            strategy_json=job.strategy.model_dump_json(),
            settings_json=job.settings.model_dump_json(),
            seed=job.seed,
            state="queued",
            run_folder=folder,
            macs_paper=int(costs["macs_paper"]),
            macs_total=int(costs["macs_total"]),
            params=int(costs["params"]),
            created=utc_now(),
        )
    row: sqlite3.Row = conn.execute("SELECT * FROM trainings WHERE key = ?", [job.key]).fetchone()
    return row


def _move_training(db: Database, training: int, change: str, values: Sequence[Any]) -> None:
    """A change of a training that is not done; a done one is left as it is."""
    with transaction(db) as conn:
        conn.execute(f"UPDATE trainings SET {change} WHERE id = ? AND state <> 'done'", [*values, training])
        if not conn.execute("SELECT 1 FROM trainings WHERE id = ?", [training]).fetchone():
            raise LookupError(f"there is no training {training}")


def _move_trial(
    db: Database, trial: int, to: TrialState, *, allowed: Sequence[str], stays: Sequence[str], error: str | None = None
) -> None:
    with transaction(db) as conn:
        row = conn.execute("SELECT state FROM trials WHERE id = ?", [trial]).fetchone()
        if row is None:
            raise LookupError(f"there is no trial {trial}")
        if row["state"] not in allowed:
            raise RuntimeError(f"trial {trial} is {row['state']} and cannot become {to}")
        if row["state"] not in stays:
            finished = utc_now() if to in ("scored", "failed") else None
            conn.execute(
                "UPDATE trials SET state = ?, error = ?, finished = ? WHERE id = ?", [to, error, finished, trial]
            )


def _trial_where(db: Database, condition: str, values: Sequence[Any]) -> Trial | None:
    row = db.conn.execute(
        "SELECT trials.*, proposals.proposer, proposals.reason, trainings.spec, trainings.key, trainings.run_folder,"
        " trainings.state AS training_state, trainings.seed, trainings.steps_done, trainings.loss,"
        " trainings.device_seconds, trainings.macs_paper, trainings.macs_total, trainings.params"
        " FROM trials JOIN proposals ON proposals.id = trials.proposal JOIN trainings ON trainings.id = trials.training"
        f" WHERE {condition}",
        values,
    ).fetchone()
    if row is None:
        return None
    parsed = {"spec": UNetSpec.parse(row["spec"]), "run_folder": Path(row["run_folder"]), "cached": bool(row["cached"])}
    return Trial(**{**dict(row), **parsed})


def _count(db: Database, rest: str, values: Sequence[Any]) -> int:
    return int(db.conn.execute(f"SELECT count(*) FROM {rest}", values).fetchone()[0])


def _finite(value: float | None) -> float | None:
    """SQLite has no NaN and JSON no infinity: a number that is none of these, or nothing."""
    return float(value) if value is not None and math.isfinite(value) else None
