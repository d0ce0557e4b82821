"""Proposals, trials and scores: what was asked for, what was refused, what was measured.

Accepting a proposal is one transaction, and every step after it may be repeated: a process killed at any instant and
run again writes the same rows once. States only move forwards; a move backwards is our bug and raises. Nothing here
decides whether a proposal is allowed (`tools.gates.specs` does) or ranks anything (`memory.queries.ranking` does).
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from diffusion.errors import UserError
from diffusion.settings import TrainJob
from diffusion.spec import UNetSpec
from memory.connection import insert, transaction, utc_now
from memory.redaction import redact, redact_optional
from memory.schema.places import folder_of
from memory.trainings import TrainingState, keys_of, training_of

TrialState = Literal["running", "trained", "scored", "failed", "pruned"]
OVER: tuple[TrialState, ...] = ("scored", "failed", "pruned")
UNEXPLAINED = "unexplained"  # the kind of refusal of a spec for what was not said of it
LARGEST_ID = 2**63 - 1  # SQLite's integers


class AlreadyTried(sqlite3.IntegrityError):
    """Another round of the search has this training, of any spelling: it runs, or ran. Nothing was written."""

    def __init__(self, trial: "Trial", spec: UNetSpec) -> None:
        found = named(trial.id, trial.spec, spec)
        super().__init__(f"{spec} is {found} of round {trial.round}, which is {trial.state}")
        self.trial = trial


def named(trial: int, spec: UNetSpec, asked: UNetSpec) -> str:
    """How a trial is named to who asks for a spec that it has, or for another one of its network."""
    return f"trial {trial}" if spec == asked else f"the network of trial {trial} ({spec})"


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
    """Turn a proposal into a trial of the round, with a new training or the stored one; again, give what is there.

    Raises:
        sqlite3.IntegrityError: the round has a trial of another job.
        AlreadyTried: another round of the search has the same training, even one that runs at this moment.
    """
    with transaction(db) as conn:
        keys, known = keys_of(job), trial_in_round(db, search, round_number)
        if known is not None and known.key in keys:
            return AcceptedTrial(known.id, known.training, known.cached, known.run_folder)
        marks = ", ".join("?" * len(keys))
        if elsewhere := _trial_where(db, f"trials.search = ? AND trainings.key IN ({marks})", [search, *keys]):
            raise AlreadyTried(elsewhere, job.spec)
        proposal = _add_proposal(conn, search, round_number, proposer, raw_text, job.spec, reason, None, None)
        training = training_of(conn, job, costs)
        cached = training["state"] == "done"
        trial = insert(
            conn,
            "trials",
            search=search,
            round=round_number,
            proposal=proposal,
            training=training["id"],
            state="trained" if cached else "running",
            cached=cached,
            created=utc_now(),
        )
        return AcceptedTrial(trial, training["id"], cached, folder_of(conn, training["run_folder"]))


def trial_trained(db: Database, trial: int) -> None:
    """Its training is done, its score is not; a trial that is further stays there."""
    _move_trial(db, trial, "trained", allowed=("running", "trained", "scored"), stays=("trained", "scored"))


def trial_scored(db: Database, trial: int) -> None:
    """The trial is over, with a score."""
    _move_trial(db, trial, "scored", allowed=("running", "trained", "scored"), stays=("scored",))


def trial_failed(db: Database, trial: int, error: str) -> None:
    """The trial is over, without a score; the first reason stays."""
    _move_trial(db, trial, "failed", allowed=("running", "trained", "failed"), stays=("failed",), error=redact(error))


def trial_pruned(db: Database, trial: int, why: str) -> None:
    """The trial is over before its end, behind its peers; the first reason stays."""
    _move_trial(db, trial, "pruned", allowed=("running", "pruned"), stays=("pruned",), error=redact(why))


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


def refusals_in_round(db: Database, search: int, round_number: int) -> int:
    """How many proposals of the round were refused."""
    counted = "SELECT count(*) FROM proposals WHERE search = ? AND round = ? AND accepted = 0"
    return int(db.conn.execute(counted, [search, round_number]).fetchone()[0])


def refused_in_round(db: Database, search: int, round_number: int) -> set[str]:
    """The specs that were refused in a round for what they are; one that was not explained may come again."""
    rows = db.conn.execute(
        "SELECT DISTINCT spec FROM proposals WHERE search = ? AND round = ? AND accepted = 0 AND spec IS NOT NULL"
        " AND refusal_kind <> ?",
        [search, round_number, UNEXPLAINED],
    )
    return {row["spec"] for row in rows}


def rounds_over(db: Database, search: int) -> set[int]:
    """The rounds whose trial is over, the baseline's 0 among them; they may end out of order."""
    rows = db.conn.execute(
        f"SELECT round FROM trials WHERE search = ? AND state IN ({', '.join('?' * len(OVER))})", [search, *OVER]
    )
    return {int(row["round"]) for row in rows}


def rounds_done(db: Database, search: int) -> int:
    """How many rounds after the baseline's are over; -1 before the baseline's is."""
    counted = f"SELECT count(*) FROM trials WHERE search = ? AND state IN ({', '.join('?' * len(OVER))})"
    return int(db.conn.execute(counted, [search, *OVER]).fetchone()[0]) - 1


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
            finished = utc_now() if to in OVER else None
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
    folder = folder_of(db.conn, row["run_folder"])
    parsed = {"spec": UNetSpec.parse(row["spec"]), "run_folder": folder, "cached": bool(row["cached"])}
    return Trial(**{**dict(row), **parsed})
