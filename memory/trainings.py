"""Trainings as rows: one for each key, whoever asked for it, with how far it is and what it cost.

Specs that spell one network share a training: the one that was there first, under its own spelling. Older memories may
hold one of each. A training that is done stays done. Nothing here trains, and which trial uses a training is
`memory.trials`'.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from diffusion.networks import network, spellings
from diffusion.settings import TrainJob
from memory.connection import finite, insert, transaction, utc_now
from memory.redaction import redact
from memory.schema.places import folder_of, kept_folder

TrainingState = Literal["queued", "running", "done", "failed"]


def training_of(conn: sqlite3.Connection, job: TrainJob, costs: dict[str, int]) -> sqlite3.Row:
    """The stored training of the job in any spelling, a failed one queued again, or a new one."""
    folder, found = kept_folder(conn, job.run_folder), _stored(conn, job)
    if found is None:
        number = _add_training(conn, job, folder, costs)
    else:
        number = found["id"]
        conn.execute(
            "UPDATE trainings SET state = 'queued', error = NULL, finished = NULL, run_folder = ?"
            " WHERE id = ? AND state = 'failed'",
            [folder, number],
        )
    row: sqlite3.Row = conn.execute("SELECT * FROM trainings WHERE id = ?", [number]).fetchone()
    return row


def keys_of(job: TrainJob) -> tuple[str, ...]:
    """The key of a job in each spelling of its network: trainings of equal keys but for it give equal weights."""
    spelled = spellings(job.spec, job.settings.family)
    return tuple(job.model_copy(update={"spec": spec}).key for spec in spelled)


def _stored(conn: sqlite3.Connection, job: TrainJob) -> sqlite3.Row | None:
    """The training of a job in any spelling: one that is done before others, then that of its own."""
    keys = keys_of(job)
    row: sqlite3.Row | None = conn.execute(
        f"SELECT * FROM trainings WHERE key IN ({', '.join('?' * len(keys))})"
        " ORDER BY state <> 'done', key <> ?, id LIMIT 1",
        [*keys, job.key],
    ).fetchone()
    return row


def _add_training(conn: sqlite3.Connection, job: TrainJob, folder: str, costs: dict[str, int]) -> int:
    return insert(
        conn,
        "trainings",
        key=job.key,
        spec=str(job.spec),
        network=network(job.spec, job.settings.family) + (f"-student-{job.key}" if job.student else ""),
        **job.spec.numbers,
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
        [steps_done, finite(loss), device_seconds, utc_now()],
    )


def training_failed(db: Database, training: int, error: str, device_seconds: float) -> None:
    """It gives no model; a later trial of the same key tries again."""
    _move_training(
        db,
        training,
        "state = 'failed', error = ?, device_seconds = ?, finished = ?",
        [redact(error), device_seconds, utc_now()],
    )


def training_paused(db: Database, training: int, *, steps_done: int, loss: float | None, device_seconds: float) -> None:
    """It was trained so far, and whoever asks for the same job goes on from there."""
    _move_training(
        db,
        training,
        "state = 'queued', error = NULL, steps_done = ?, loss = ?, device_seconds = ?",
        [steps_done, finite(loss), device_seconds],
    )


def add_to_curve(db: Database, training: int, points: Iterable[tuple[int, float]]) -> None:
    """Keep points of the loss, as (step, loss); one that is there already is left as it is."""
    found = [(training, step, finite(loss)) for step, loss in points]
    with transaction(db) as conn:
        conn.executemany(
            "INSERT INTO loss_curves (training, step, loss) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [row for row in found if row[-1] is not None],
        )


def loss_curve(db: Database, training: int) -> list[tuple[int, float]]:
    """How the loss of a training went, as (step, loss); empty of one that was over before curves were kept."""
    rows = db.conn.execute("SELECT step, loss FROM loss_curves WHERE training = ? ORDER BY step", [training])
    return [(row["step"], row["loss"]) for row in rows]


def find_training(db: Database, job: TrainJob) -> dict[str, Any] | None:
    """The stored training of a job in any spelling of its network, whatever its state."""
    row = _stored(db.conn, job)
    return None if row is None else {**dict(row), "run_folder": str(folder_of(db.conn, row["run_folder"]))}


def training_lost(db: Database, training: int, run_folder: Path) -> None:
    """Its weights are gone from the disk: to be trained anew in `run_folder`. Scores, once measured, stay."""
    with transaction(db) as conn:
        conn.execute(
            "UPDATE trainings SET state = 'queued', steps_done = 0, finished = NULL, run_folder = ? WHERE id = ?",
            [kept_folder(conn, run_folder), training],
        )
        conn.execute("DELETE FROM loss_curves WHERE training = ?", [training])


def _move_training(db: Database, training: int, change: str, values: Sequence[Any]) -> None:
    """A change of a training that is not done; a done one is left as it is."""
    with transaction(db) as conn:
        conn.execute(f"UPDATE trainings SET {change} WHERE id = ? AND state <> 'done'", [*values, training])
        if not conn.execute("SELECT 1 FROM trainings WHERE id = ?", [training]).fetchone():
            raise LookupError(f"there is no training {training}")
