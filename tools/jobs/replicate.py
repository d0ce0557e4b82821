"""Replicas of a trial and the verdicts that rest on them: trained, scored and remembered, once.

A replica differs from its trial in the seed of the training and of the images. How many there are, and of which specs,
is decided elsewhere; the statistics are `diffusion.statistics.noise`'s.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlite_utils import Database

from diffusion.statistics.noise import Noise, Verdicts, interval, pooled_noise, trial_verdicts
from memory.connection import transaction
from memory.ledger import charge
from memory.queries.records import baseline, best
from memory.replicas import (
    Replica,
    add_replica,
    find_replica,
    replica_failed,
    replica_scored,
    seed_scores,
    write_verdict,
)
from memory.scores import score_of
from memory.searches import find_search
from memory.trainings import training_failed, training_finished, training_started
from memory.trials import Trial, find_trial
from tools.context import SearchContext
from tools.errors import JobFailed
from tools.executors.machine import Share
from tools.jobs.curve import keeping_curve
from tools.jobs.measure import evaluated, keep_score


def replicate(context: SearchContext, trial: Trial, seed: int) -> Replica:
    """Train and score a trial's spec with another seed, from wherever that stands.

    Raises:
        Interrupted: the user stops the search; it goes on at the next resume.
    """
    cost, job = context.limits.cost(trial.spec), context.train_job(trial.spec, seed)
    counts = {"macs_paper": cost.macs.paper, "macs_total": cost.macs.total, "params": cost.params}
    replica = add_replica(context.db, context.search, trial.id, job, counts)
    if replica.state == "scored":
        return replica
    context.report("replica.started", trial=trial.id, spec=str(trial.spec), seed=seed)
    try:
        if replica.training_state != "done":
            _train(context, replica)
        _score(context, replica)
    except JobFailed as failure:
        replica_failed(context.db, replica.id, str(failure))
        context.report("replica.failed", trial=trial.id, spec=str(trial.spec), seed=seed, reason=str(failure))
    return find_replica(context.db, replica.id)


def replicate_all(context: SearchContext, asked: Sequence[tuple[Trial, int]], share: Share) -> None:
    """Replicas of trials by their seeds, side by side, each with a share of the machine.

    Raises:
        Interrupted: the user stops the search; they go on at the next resume.
    """
    context = context.sharing(share)
    with ThreadPoolExecutor(share.parallel, "replica") as pool:
        for done in [pool.submit(replicate, context, trial, seed) for trial, seed in asked]:
            done.result()


def _train(context: SearchContext, replica: Replica) -> None:
    job = context.train_job(replica.spec, replica.seed).model_copy(update={"run_folder": replica.run_folder})
    training_started(context.db, replica.training)

    def tell(event: dict[str, Any]) -> None:
        if event.get("event") != "note":
            values = {name: value for name, value in event.items() if name != "event"}
            context.report("train.progress", trial=replica.trial, seed=replica.seed, **values)

    try:
        with keeping_curve(context, replica.training, tell) as hear:
            done = context.services.executor.train(job, hear)
    except JobFailed as failure:
        training_failed(context.db, replica.training, str(failure), device_seconds=replica.device_seconds)
        raise
    spent = done["device_seconds"]
    db = context.db
    with transaction(db):
        training_finished(db, replica.training, steps_done=done["step"], loss=done["loss"], device_seconds=spent)
        before = replica.device_seconds if replica.steps_done else 0.0
        charge(db, context.search, "train", device_seconds=max(0.0, spent - before), note=f"replica {replica.id}")


def _score(context: SearchContext, replica: Replica) -> None:
    """Measure it under the search's protocol, once, with images of its own seed."""
    stored = score_of(context.db, replica.training, context.limits.protocol.fingerprint)
    if stored is None:
        job = context.score_job(replica.run_folder, replica.spec).model_copy(update={"sampling_seed": replica.seed})
        done = evaluated(context, replica.trial, job, replica.seed)
        db = context.db
        with transaction(db):
            keep_score(db, context.search, replica.training, job, done, f"replica {replica.id}")
    db = context.db
    replica_scored(db, replica.id)
    value = score_of(db, replica.training, context.limits.protocol.fingerprint)
    context.report(
        "replica.scored",
        trial=replica.trial,
        spec=str(replica.spec),
        seed=replica.seed,
        rfid=value.value if value else None,
        metric=context.limits.protocol.score.metric,
    )


def noise_of(db: Database, search: int) -> Noise | None:
    """What retraining alone does to a score of this search; None before three training seeds of the baseline.

    First scores of candidates, which picked them, are left out.
    """
    first = baseline(db, search)
    if first is None:
        return None
    scores = {spec: usable(found) for spec, found in seed_scores(db, search, replicated=True).items()}
    return pooled_noise({spec: found[spec != first["spec"] :] for spec, found in scores.items()}, first["spec"])


def judge(context: SearchContext, trial: int) -> None:
    """Write down what the noise so far lets say of a trial that has just been scored; said once.

    The noise is that of the baseline's replicas and of further ones, never of first scores that picked a spec.
    """
    db = context.db
    known, rounds = find_trial(db, trial), find_search(db, context.search).rounds
    ranking = best(db, context.search, limit=None)
    scores = {spec: usable(found) for spec, found in seed_scores(db, context.search).items()}
    baseline = next((row["spec"] for row in ranking if row["round"] == 0), None)
    if known.round == 0 or baseline is None:
        return
    noise = noise_of(db, context.search)
    own = usable([row["rfid"] for row in ranking if row["trial"] == trial] or [None])[0]
    rivals = [row for row in ranking if row["trial"] != trial and (row["trial"] < trial or row["round"] == 0)]
    first = rivals[0] if rivals else None
    incumbent = [] if first is None else scores[baseline] if first["round"] == 0 else usable([first["rfid"]])
    said = trial_verdicts(noise, own, scores[baseline], incumbent, max(rounds, known.round))
    bounds = interval(noise, [own])
    write_verdict(db, trial, _row(said, bounds, noise and noise.cv, noise and noise.degrees_of_freedom))


def usable(scores: list[float | None]) -> list[float | None]:
    """A distance of zero or below is rounding: it has no logarithm, and nothing is said by it."""
    return [score if score is not None and score > 0 else None for score in scores]


def _row(
    said: Verdicts, bounds: tuple[float, float] | None, cv: float | None, degrees_of_freedom: int | None
) -> dict[str, Any]:
    low, high = bounds or (None, None)
    return {
        "ci_low": low,
        "ci_high": high,
        "baseline": said.baseline.answer,
        "incumbent": said.incumbent.answer,
        "why_baseline": said.baseline.why,
        "why_incumbent": said.incumbent.why,
        "noise_cv": cv,
        "degrees_of_freedom": degrees_of_freedom,
    }
