"""The tool that trains: a proposal passes the gates, becomes a trial, and is trained in a process of its own."""

import json
from typing import Annotated

from pydantic import Field

from diffusion.spec import UNetSpec
from tools.arguments import Arguments, Runtime, SpecArgument, model_tool
from tools.jobs.training import train_candidate


class TrainArguments(Arguments):
    """What `train_ract` takes."""

    spec: SpecArgument
    reason: Annotated[
        str,
        Field(
            min_length=1, description="One sentence: why this spec is worth the next training, from what was measured."
        ),
    ]


@model_tool("train_ract", TrainArguments)
def train_ract(spec: UNetSpec, reason: str, runtime: Runtime) -> tuple[str, dict[str, object]]:
    """Train one UNet with the search's rapid training strategy (Ract). This is the expensive step, one per round.

    The spec must lie in the search space, fit the budget, and be new in this search; otherwise it is refused before
    anything is spent and the answer says what would be right. Gives the trial's number, which evaluate_fid needs, and
    status trained, cached (the same training existed already), or failed or pruned (clearly behind the others, stopped
    early) with the reason. Do not call it for a spec that
    count_flops shows over the budget.
    """
    context = runtime.context
    raw_text = json.dumps({"tool": "train_ract", "spec": str(spec), "reason": reason})
    with context.one_at_a_time:
        result = train_candidate(context, spec, reason, raw_text)
    return result.model_dump_json(exclude_none=True), result.model_dump(mode="json")
