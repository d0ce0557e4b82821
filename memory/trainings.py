"""Trainings as rows: one for each key, whoever asked for it, with how far it is and what it cost.

A training that is done stays done. Nothing here trains, and which trial uses a training is `memory.trials`.
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from diffusion.settings import TrainJob
from diffusion.spec import PAPER_PARAMETERS
from memory.connection import finite, insert, transaction, utc_now
from memory.redaction import redact

TrainingState = Literal["queued", "running", "done", "failed"]


def training_of(conn: sqlite3.Connection, job: TrainJob, costs: dict[str, int]) -> sqlite3.Row:
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
            **dict(zip(PAPER_PARAMETERS, job.spec.row, strict=True)),
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


def _move_training(db: Database, training: int, change: str, values: Sequence[Any]) -> None:
    """A change of a training that is not done; a done one is left as it is."""
    with transaction(db) as conn:
        conn.execute(f"UPDATE trainings SET {change} WHERE id = ? AND state <> 'done'", [*values, training])
        if not conn.execute("SELECT 1 FROM trainings WHERE id = ?", [training]).fetchone():
            raise LookupError(f"there is no training {training}")
