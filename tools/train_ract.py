"""The tool that trains and scores: a proposal passes the gates, becomes a trial, and gets its score."""

import json
from typing import Annotated

from pydantic import Field

from diffusion.spec import UNetSpec
from tools.arguments import Arguments, Runtime, SpecArgument, model_tool
from tools.context import SearchContext
from tools.jobs.scoring import ScoreResult, score_trial
from tools.jobs.training import TrainResult, train_candidate


class TrainArguments(Arguments):
    """What `train_ract` takes."""

    spec: SpecArgument
    reason: Annotated[str, Field(min_length=1, description="one sentence: why this one next, from what was measured")]


class Outcome(ScoreResult):
    """What became of a proposal that passed the gates: its training, its score, and where that stands."""

    status: str
    final_loss: float | None = None
    note: str | None = None


def train_and_score(context: SearchContext, spec: UNetSpec, reason: str, raw_text: str) -> Outcome:
    """Train a proposal and score it; called again in the same round it goes on where it stopped.

    Raises:
        Refused: a gate objects, with what would be right.
        Interrupted: the user stops the search; it goes on at the next resume.
    """
    trained = train_candidate(context, spec, reason, raw_text)
    has_weights = trained.status in ("trained", "cached")
    scored = score_trial(context, trained.trial) if has_weights else _without(context, trained)
    more = trained.model_dump(include={"status", "final_loss", "note"})
    return Outcome.model_validate(scored.model_dump() | more)


def _without(context: SearchContext, trained: TrainResult) -> ScoreResult:
    metric = context.limits.protocol.score.metric
    return ScoreResult(trial=trained.trial, spec=trained.spec, rfid=None, metric=metric, why=trained.why)


@model_tool("train_ract", TrainArguments)
def train_ract(spec: UNetSpec, reason: str, runtime: Runtime) -> tuple[str, dict[str, object]]:
    """Train one UNet with the search's rapid strategy (Ract), and score it: the expensive step, which ends the round.

    A spec outside the space, over the budget, tried before or forbidden is refused before anything is spent. Gives the
    status (trained, cached, failed, or pruned: stopped early, clearly behind), the score rfid (lower is better), its
    95 % interval and verdicts where the noise is known, its rank, and the best so far.
    """
    context = runtime.context
    raw_text = json.dumps({"tool": "train_ract", "spec": str(spec), "reason": reason})
    with context.one_at_a_time:
        result = train_and_score(context, spec, reason, raw_text)
    return result.model_dump_json(exclude_none=True), result.model_dump(mode="json")
