"""Early stopping in a search: at a few steps a training pauses, is scored cheaply, and ends if it is clearly behind.

The rule and its numbers are `diffusion.statistics.pruning`'s. All candidates of a search are scored at a rung under one
protocol, that of a training of so many steps, and the scores stand in memory beside those of the whole trainings.
Nothing here trains.
"""

from diffusion.statistics.pruning import Curve, Verdict, rung_protocol, should_prune
from memory.scores import rung_scores, score_of
from memory.trials import Trial
from tools.context import SearchContext
from tools.errors import JobFailed
from tools.jobs.measure import run_and_remember


def rungs_from(context: SearchContext, step: int) -> tuple[int, ...]:
    """The rungs that a training at this step is at or comes to; none in a search that stops nobody early."""
    if context.jobs.prune is None:
        return ()
    return tuple(
        rung for rung in context.jobs.prune.rungs(context.limits.protocol.strategy.train_steps) if rung >= step
    )


def look(context: SearchContext, trial: Trial, rung: int) -> Verdict:
    """Score a training that has reached a rung, once, and hold it against the others of the search.

    A measurement that fails stops nothing: the training goes on without it.

    Raises:
        Interrupted: the user stops the search; the rung is looked at when it goes on.
    """
    assert context.jobs.prune is not None
    protocol = rung_protocol(context.limits.protocol, rung)
    known = score_of(context.db, trial.training, protocol.fingerprint)
    if known is None:
        job = context.score_job(trial.run_folder, trial.spec).model_copy(update={"protocol": protocol})
        try:
            run_and_remember(context, trial, job)
        except JobFailed as failure:
            return Verdict(False, f"step {rung:,} could not be scored ({failure}), so nothing is compared")
    curve, peers = _curves(context, trial)
    train_steps = context.limits.protocol.strategy.train_steps
    if context.round_number == 0:
        return should_prune(curve, peers, rung, train_steps, context.jobs.prune, "baseline")
    return should_prune(curve, peers, rung, train_steps, context.jobs.prune)


def curve_of(context: SearchContext, trial: Trial) -> list[dict[str, float | int | None]]:
    """The scores of a trial at its rungs, as rows that JSON can hold."""
    curve, _ = _curves(context, trial)
    return [{"step": step, "rfid": value} for step, value in sorted(curve.items())]


def _curves(context: SearchContext, trial: Trial) -> tuple[Curve, list[Curve]]:
    """The scores at the rungs: of this trial, and of each other one of the search."""
    assert context.jobs.prune is not None
    rungs = context.jobs.prune.rungs(context.limits.protocol.strategy.train_steps)
    protocols = [rung_protocol(context.limits.protocol, rung).fingerprint for rung in rungs]
    found = rung_scores(context.db, context.search, protocols)
    own = found.pop(trial.id, {})
    return own, list(found.values())
