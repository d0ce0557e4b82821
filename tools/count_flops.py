"""The tool that counts before anything is spent."""

from pydantic import BaseModel

from diffusion.cost.closed_form import Macs
from diffusion.spec import UNetSpec
from diffusion.units import format_size
from tools.arguments import Arguments, Runtime, SpecArgument, model_tool
from tools.context import SearchContext
from tools.gates.directives import objection


class CountResult(BaseModel):
    """The exact cost of a spec, where it stands to the budget, and whether a directive of the user forbids it."""

    spec: str
    widths: str
    params: int
    macs: Macs
    counted: str
    budget: int
    within_budget: bool
    share_of_budget: float
    verdict: str
    share_of_each_stage: list[float]
    outside_space: str | None
    forbidden: str | None = None


class CountArguments(Arguments):
    """What `count_flops` takes."""

    spec: SpecArgument


def count(context: SearchContext, spec: UNetSpec) -> CountResult:
    """The closed-form cost of a spec beside the budget of the search."""
    cost = context.limits.cost(spec)
    macs, budget = cost.macs.by(context.limits.convention), context.limits.budget_macs
    within = macs <= budget
    forbidden = objection(context, spec, measure=False)
    return CountResult(
        spec=str(spec),
        widths=spec.widths,
        params=cost.params,
        macs=cost.macs,
        counted=context.limits.convention,
        budget=budget,
        within_budget=within,
        share_of_budget=round(macs / budget, 4),
        verdict=f"{'under' if within else 'over'} the budget by {format_size(abs(budget - macs))} MACs",
        share_of_each_stage=[round(stage.macs.by(context.limits.convention) / macs, 4) for stage in cost.stages],
        outside_space=context.limits.space.why_not(spec),
        forbidden=forbidden[0] if forbidden else None,
    )


@model_tool("count_flops", CountArguments)
def count_flops(spec: UNetSpec, runtime: Runtime) -> tuple[str, dict[str, object]]:
    """Count what a UNet costs, exactly and at once, without training it.

    Use it before train_ract to see whether a spec fits the budget. Gives the widths of its stages (full resolution
    first), parameters, multiply-accumulates under both counting conventions, the share of the budget it uses, how far
    it is over or under, the share of each stage, whether the spec lies outside the search space, and whether a
    directive of the user forbids it. It costs nothing; call it as often as needed.
    """
    result = count(runtime.context, spec)
    return result.model_dump_json(), result.model_dump(mode="json")
