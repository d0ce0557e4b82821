"""The tool that scores: images from the averaged weights of a trial, compared with the data set, remembered."""

from typing import Annotated

from pydantic import Field

from tools.arguments import Arguments, Runtime, model_tool
from tools.jobs.scoring import score_trial


class EvaluateArguments(Arguments):
    """What `evaluate_fid` takes."""

    trial: Annotated[int, Field(ge=1, description="The number that train_ract gave.")]


@model_tool("evaluate_fid", EvaluateArguments)
def evaluate_fid(trial: int, runtime: Runtime) -> tuple[str, dict[str, object]]:
    """Score a trained trial: sample images from it and compare them with the data set. Lower is better.

    Call it once after train_ract, with the trial's number. Gives the score (rfid) and the name of its metric, its rank
    among the comparable trials of this search, and the best so far. ci95 is null and the verdicts are unmeasured until
    replicas say how large the noise is: do not read meaning into small differences. It ends the round.
    """
    context = runtime.context
    with context.one_at_a_time:
        result = score_trial(context, trial)
    return result.model_dump_json(), result.model_dump(mode="json")
