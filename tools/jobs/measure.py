"""One measurement of trained weights, remembered: what the tools that score share. Decides nothing about the trial."""

from typing import Any

from sqlite_utils import Database

from diffusion.settings import ScoreJob
from memory.connection import transaction
from memory.ledger import charge
from memory.scores import add_score
from memory.trials import Trial, trial_scored
from tools.context import SearchContext

EXTRA = ("grid", "kid", "kid_std", "precision", "recall")  # kept beside the score


def run_and_remember(context: SearchContext, trial: Trial, job: ScoreJob) -> dict[str, Any]:
    """One measurement of a trained trial, under the protocol of `job`; what was measured.

    Raises:
        JobFailed: there is no score.
        Interrupted: the user stops it.
    """
    done = evaluated(context, trial.id, job)
    extra = {name: done[name] for name in EXTRA if name in done}
    db = context.db
    with transaction(db):
        keep_score(db, context.search, trial.training, job, done, f"trial {trial.id}", extra)
        if job.protocol.fingerprint == context.limits.protocol.fingerprint:
            trial_scored(db, trial.id)
    return done


def evaluated(context: SearchContext, trial: int, job: ScoreJob, seed: int | None = None) -> dict[str, Any]:
    """What a job measures of a trial, or of its replica with a seed, while it is told how far that is.

    Raises:
        JobFailed: there is no score.
        Interrupted: the user stops it.
    """

    def tell(event: dict[str, Any]) -> None:
        values = {name: event[name] for name in ("phase", "images", "total_images", "eta_seconds")}
        context.report("score.progress", trial=trial, seed=seed, **values)

    tell({"phase": "starting", "images": 0, "total_images": job.protocol.score.num_images, "eta_seconds": None})
    return context.services.executor.evaluate(job, tell)


def keep_score(
    db: Database,
    search: int,
    training: int,
    job: ScoreJob,
    done: dict[str, Any],
    note: str,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write down what a job measured of a training, and charge the search for it."""
    add_score(
        db,
        training,
        step=done["step"],
        protocol=job.protocol,
        sampling_seed=job.sampling_seed,
        metric=done["metric"],
        value=done["value"],
        num_images=done["num_images"],
        device_seconds=done["device_seconds"],
        extra=extra,
    )
    charge(db, search, "score", device_seconds=done["device_seconds"], note=note)
