"""The score of a trained trial, with its verdict and its rank among the comparable."""

import json
from typing import Any

from pydantic import BaseModel

from diffusion.errors import UserError
from memory.queries.records import best
from memory.scores import score_of
from memory.searches import find_search
from memory.trials import Trial, find_trial, trial_failed, trial_scored
from tools.context import SearchContext
from tools.errors import JobFailed, Refused, Unavailable
from tools.jobs.measure import run_and_remember
from tools.jobs.replicate import judge

UNMEASURED = {"baseline": "unmeasured", "incumbent": "unmeasured"}  # until replicas say how large the noise is


class ScoreResult(BaseModel):
    """One score and where it stands among the comparable ones."""

    trial: int
    spec: str
    rfid: float | None
    metric: str
    ci95: list[float] | None = None
    verdict: dict[str, str] = UNMEASURED
    rank: int | None = None
    comparable: int = 0
    best_so_far: dict[str, Any] | None = None
    why: str | None = None


def score_trial(context: SearchContext, trial: int) -> ScoreResult:
    """Score a trained trial under the search's protocol, once; afterwards the stored score is returned.

    Raises:
        Unavailable: there is no such trial in this search, or it failed.
        Refused: it is not trained yet.
        Interrupted: the user stops the search.
    """
    known = known_trial(context, trial)
    stored = score_of(context.db, known.training, context.limits.protocol.fingerprint)
    if stored is None:
        try:
            run_and_remember(context, known, context.score_job(known.run_folder, known.spec))
        except JobFailed as failure:
            trial_failed(context.db, trial, str(failure))
            context.report("trial.failed", trial=trial, spec=str(known.spec), reason=str(failure))
            return ScoreResult(
                trial=trial,
                spec=str(known.spec),
                rfid=None,
                metric=context.limits.protocol.score.metric,
                why=str(failure),
            )
    elif known.state != "scored":
        trial_scored(context.db, trial)
    judge(context, trial)
    result = standing(context, trial)
    if known.state != "scored":
        _report(context, known, result)
    return result


def known_trial(context: SearchContext, trial: int) -> Trial:
    """A trial of this search that has weights.

    Raises:
        Unavailable: there is no such trial in this search, or it failed.
        Refused: it is not trained yet.
    """
    try:
        known = find_trial(context.db, trial)
    except UserError:
        known = None
    if known is None or known.search != context.search:
        raise Unavailable(f"There is no trial {trial} in this search; train_ract gives the number to use.")
    if known.state == "failed":
        raise Unavailable(f"Trial {trial} failed ({known.error}) and has no score.")
    if known.state == "pruned":
        raise Unavailable(f"Trial {trial} was stopped early ({known.error}) and has no score of a whole training.")
    if known.state == "running":
        raise Refused("not_trained", f"Trial {trial} is not trained yet; call train_ract with {known.spec} first.")
    return known


def standing(context: SearchContext, trial: int) -> ScoreResult:
    """The stored score of a trial and its rank among all scores of the search's protocol in this search."""
    ranking = best(context.db, context.search, limit=None)
    rank = next(index for index, row in enumerate(ranking, 1) if row["trial"] == trial)
    row, first = ranking[rank - 1], ranking[0]
    return ScoreResult(
        trial=trial,
        spec=row["spec"],
        rfid=row["rfid"],
        metric=row["metric"],
        ci95=row["ci95"],
        verdict=row["verdict"],
        rank=rank,
        comparable=len(ranking),
        best_so_far={"trial": first["trial"], "spec": first["spec"], "rfid": first["rfid"]},
    )


def _kind_of_training(context: SearchContext) -> str:
    """Whether the search trains rapidly, to rank, or in full."""
    found: str = json.loads(find_search(context.db, str(context.search)).config_json).get("train", "rapid")
    return found


def _report(context: SearchContext, trial: Trial, result: ScoreResult) -> None:
    context.report(
        "trial.scored",
        trial=trial.id,
        spec=str(trial.spec),
        rfid=result.rfid,
        metric=result.metric,
        train=_kind_of_training(context),
        ci95=result.ci95,
        verdict=result.verdict,
        macs={"paper": trial.macs_paper, "total": trial.macs_total},
        params=trial.params,
        device_seconds=trial.device_seconds,
    )
