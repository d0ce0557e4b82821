"""A candidate's training: from an accepted proposal to a finished, failed or pruned trial."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from sqlite_utils import Database

from diffusion.settings import TrainJob
from diffusion.spec import UNetSpec
from memory.connection import transaction
from memory.ledger import charge
from memory.redaction import redact
from memory.scores import score_of
from memory.trainings import (
    find_training,
    training_failed,
    training_finished,
    training_lost,
    training_paused,
    training_started,
)
from memory.trials import (
    AlreadyTried,
    Trial,
    accept_proposal,
    find_trial,
    trial_failed,
    trial_in_round,
    trial_pruned,
    trial_trained,
)
from tools.context import SearchContext
from tools.errors import JobFailed, Refused
from tools.gates.specs import refusal
from tools.jobs.curve import keeping_curve
from tools.jobs.rungs import curve_of, look, rungs_from
from tools.refusals import REASON_CHARACTERS, refuse


class TrainResult(BaseModel):
    """What became of a proposal that passed the gates."""

    trial: int
    spec: str
    status: Literal["trained", "cached", "failed", "pruned"]
    why: str | None = None
    final_loss: float | None = None
    device_seconds: float = 0.0
    note: str | None = None


def train_candidate(context: SearchContext, spec: UNetSpec, reason: str, raw_text: str = "") -> TrainResult:
    """Gate, record and train one proposal; called again in the same round it goes on where it stopped.

    Raises:
        Refused: a gate objects; the refusal is a row in memory, nothing was spent.
        Interrupted: the user stops the search; the training goes on at the next resume.
    """
    reason = redact(" ".join(reason.split()))[:REASON_CHARACTERS]
    if objection := refusal(context, spec):
        refuse(context, objection, spec=spec, reason=reason, raw_text=raw_text)
        raise objection
    proposed, spec = spec, _approved(context, spec, reason, raw_text)
    if spec != proposed:
        reason = f"The user's change of {proposed}, which {context.proposer} had proposed: {reason}"
        context = replace(context, proposer="user")
    try:
        trial = trial_of(context, spec, reason, raw_text)
    except AlreadyTried as taken:  # by another round, since the gates were asked
        objection = Refused("repeated", f"{taken}. Propose a new spec.")
        refuse(context, objection, spec=spec, reason=reason, raw_text=raw_text)
        raise objection from None
    result = continue_training(context, trial)
    if spec == proposed:
        return result
    note = f"The user changed your proposal {proposed} to {spec}. It is this round's spec; do not change it back."
    return result.model_copy(update={"note": note})


def _approved(context: SearchContext, spec: UNetSpec, reason: str, raw_text: str) -> UNetSpec:
    """The spec that the user lets pass, which may be another one; the proposal itself where nobody is to be asked.

    Raises:
        Refused: the user rejects it; a row in memory with the reason.
    """
    if context.services.approve is None or _is_accepted(context):
        return spec
    decision = context.services.approve(context, spec, reason)
    if decision.rejected is None:
        return decision.spec
    objection = Refused("rejected", f"The user rejected {spec}: {decision.rejected}. Propose a spec that heeds this.")
    refuse(context, objection, spec=spec, reason=reason, raw_text=raw_text)
    raise objection


def _is_accepted(context: SearchContext) -> bool:
    return trial_in_round(context.db, context.search, context.round_number) is not None


def train_as_asked(context: SearchContext, spec: UNetSpec, reason: str) -> TrainResult:
    """Record and train what a person asked for; no gate is asked.

    Raises:
        Interrupted: the user stops it; the training goes on at the next resume.
    """
    context = replace(context, jobs=replace(context.jobs, prune=None))
    return continue_training(context, trial_as_asked(context, spec, reason))


def trial_as_asked(context: SearchContext, spec: UNetSpec, reason: str) -> int:
    """The trial of what a person asked for, made if it is not there; what was trained and is lost will be again."""
    _forget_lost_weights(context, context.train_job(spec), though_scored=True)
    return trial_of(context, spec, reason, str(spec))


def continue_training(context: SearchContext, trial: int) -> TrainResult:
    """Train an accepted trial, unless its training is done already."""
    known = find_trial(context.db, trial)
    if known.state == "running":
        _train(context, known)
    return _result(context, trial)


def trial_of(context: SearchContext, spec: UNetSpec, reason: str, raw_text: str) -> int:
    """The trial of this round, made if it is not there."""
    job = context.train_job(spec)
    _forget_lost_weights(context, job, though_scored=False)
    db = context.db
    if found := trial_in_round(db, context.search, context.round_number):
        return found.id
    accepted = accept_proposal(
        db,
        context.search,
        context.round_number,
        proposer=context.proposer,
        raw_text=raw_text,
        reason=reason,
        job=job,
        costs=_costs(context, job),
    )
    report_started(context, accepted.trial)
    return accepted.trial


def _costs(context: SearchContext, job: TrainJob) -> dict[str, int]:
    """What the network of a job costs: that of its spec, or the student's."""
    if job.student is not None:
        from diffusion.training.network import cost_of_student

        return cost_of_student(job.student)._asdict()
    cost = context.limits.cost(job.spec)
    return {"macs_paper": cost.macs.paper, "macs_total": cost.macs.total, "params": cost.params}


def _forget_lost_weights(context: SearchContext, job: TrainJob, *, though_scored: bool) -> None:
    """A training whose run folder was deleted, or whose weights are cut, is trained anew where they are needed."""
    db = context.db
    known = find_training(db, job)
    if known is None or known["state"] != "done" or job.table is not None:  # a table has no weights to lose
        return
    if not though_scored and score_of(db, known["id"], context.limits.protocol.fingerprint):
        return
    from diffusion.training.checkpoint import step_checkpoint  # torch is not needed for anything that is new

    folder = Path(known["run_folder"])
    if not (folder / "result.json").exists() or step_checkpoint(folder, job.strategy.train_steps) is None:
        training_lost(db, known["id"], job.run_folder)


def report_started(context: SearchContext, trial: int) -> None:
    """Say that a trial begins, or goes on after an interruption."""
    known = find_trial(context.db, trial)
    context.report(
        "trial.started",
        trial=trial,
        spec=str(known.spec),
        proposer=known.proposer,
        reason=known.reason,
        macs={"paper": known.macs_paper, "total": known.macs_total},
        params=known.params,
        cached=known.cached,
    )


def _train(context: SearchContext, trial: Trial) -> None:
    """Run the job, rung by rung where the search stops early, and write down what came of it."""
    training_started(context.db, trial.training)
    started = time.monotonic()
    try:
        for rung in rungs_from(context, trial.steps_done):
            if _reached(context, trial, rung) == rung and _is_stopped(context, trial, rung):
                return
        _write_end(context, trial, _run(context, trial))
    except JobFailed as failure:
        _write_failure(context, trial, failure, time.monotonic() - started)


def _run(context: SearchContext, trial: Trial, until_step: int | None = None) -> dict[str, Any]:
    """Train to a rung, or to the end; the ``done`` line."""
    places = {"run_folder": trial.run_folder, "until_step": until_step}
    job = context.train_job(trial.spec).model_copy(update=places)

    def tell(event: dict[str, Any]) -> None:
        if event.get("event") == "note":
            context.report("train.note", trial=trial.id, text=event["text"])
        else:
            context.report("train.progress", trial=trial.id, seed=None, **_progress(event))

    with keeping_curve(context, trial.training, tell) as hear:
        return context.services.executor.train(job, hear)


def _reached(context: SearchContext, trial: Trial, rung: int) -> int:
    """Train to a rung, unless a killed process had done so already; the step it is at, which may be a later one."""
    if trial.steps_done == rung:
        return rung
    done = _run(context, trial, until_step=rung)
    db = context.db
    with transaction(db):
        _charge(db, context, trial, done["device_seconds"])
        training_paused(
            db, trial.training, steps_done=done["step"], loss=done["loss"], device_seconds=done["device_seconds"]
        )
    return int(done["step"])


def _is_stopped(context: SearchContext, trial: Trial, rung: int) -> bool:
    """Whether a training ends at a rung, behind its peers."""
    verdict = look(context, trial, rung)
    context.report("trial.rung", trial=trial.id, spec=str(trial.spec), step=rung, pruned=verdict.prune, why=verdict.why)
    if not verdict.prune:
        return False
    trial_pruned(context.db, trial.id, verdict.why)
    curve = curve_of(context, trial)
    context.report("trial.pruned", trial=trial.id, spec=str(trial.spec), step=rung, reason=verdict.why, curve=curve)
    return True


def _write_end(context: SearchContext, trial: Trial, done: dict[str, Any]) -> None:
    spent = done["device_seconds"]
    db = context.db
    with transaction(db):
        _charge(db, context, trial, spent)
        training_finished(db, trial.training, steps_done=done["step"], loss=done["loss"], device_seconds=spent)
        trial_trained(db, trial.id)
    context.report(
        "trial.trained",
        trial=trial.id,
        spec=str(trial.spec),
        step=done["step"],
        loss=done["loss"],
        device_seconds=spent,
    )


def _charge(db: Database, context: SearchContext, trial: Trial, device_seconds: float) -> None:
    """Write down what a training cost since it was last written down: its own count is of all its processes so far."""
    known = find_trial(db, trial.id)
    before = known.device_seconds if known.steps_done else 0.0
    charge(db, context.search, "train", device_seconds=max(0.0, device_seconds - before), note=f"trial {trial.id}")


def _write_failure(context: SearchContext, trial: Trial, failure: JobFailed, spent: float) -> None:
    db = context.db
    with transaction(db):
        training_failed(db, trial.training, str(failure), device_seconds=spent)
        charge(db, context.search, "train", device_seconds=spent, note=f"trial {trial.id}, failed")
        trial_failed(db, trial.id, str(failure))
    context.report("trial.failed", trial=trial.id, spec=str(trial.spec), reason=str(failure))


def _progress(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "event"}


def _result(context: SearchContext, trial: int) -> TrainResult:
    known = find_trial(context.db, trial)
    if known.state in ("failed", "pruned"):
        return TrainResult(
            trial=trial,
            spec=str(known.spec),
            status=known.state,
            why=known.error,
        )
    return TrainResult(
        trial=trial,
        spec=str(known.spec),
        status="cached" if known.cached else "trained",
        final_loss=known.loss,
        device_seconds=round(known.device_seconds or 0.0, 2),
    )
