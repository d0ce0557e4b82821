"""The tool that counts before anything is spent."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from diffusion.spec import UNetSpec
from memory.queries.records import spec_in_search
from tools.arguments import Arguments, Runtime, SpecArgument, model_tool
from tools.context import SearchContext
from tools.gates.directives import objection

MOST = 16  # specs of one call


class CountResult(BaseModel):
    """The exact cost of a spec, where it stands to the budget, and what else stands in its way."""

    spec: str
    widths: str
    macs: int
    share_of_budget: float
    within_budget: bool
    params: int
    share_of_each_stage: list[float] | None = None
    already_tried: str | None = None
    outside_space: str | None = None
    forbidden: str | None = None


def _as_list(value: object) -> object:
    """One spec as a list of it; a list that came as text as what it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value if isinstance(value, list) else [value]


class CountArguments(Arguments):
    """What `count_flops` takes."""

    specs: Annotated[
        list[SpecArgument],
        BeforeValidator(_as_list, json_schema_input_type=list[SpecArgument]),
        Field(min_length=1, max_length=MOST, description="the specs to count, all that you consider"),
    ]


def count(context: SearchContext, spec: UNetSpec) -> CountResult:
    """The closed-form cost of a spec beside the budget of the search."""
    cost, limits = context.limits.cost(spec), context.limits
    macs = cost.macs.by(limits.convention)
    forbidden = objection(context, spec, measure=False)
    return CountResult(
        spec=str(spec),
        widths=spec.widths,
        macs=macs,
        share_of_budget=round(macs / limits.budget_macs, 3),
        within_budget=macs <= limits.budget_macs,
        params=cost.params,
        share_of_each_stage=[round(stage.macs.by(limits.convention) / macs, 2) for stage in cost.stages],
        already_tried=_already_tried(context, spec),
        outside_space=limits.space.why_not(spec),
        forbidden=forbidden[0] if forbidden else None,
    )


def _already_tried(context: SearchContext, spec: UNetSpec) -> str | None:
    """The trial of the same network in this search, which trains it no second time, with its score."""
    known = spec_in_search(context.db, context.search, spec)
    if known is None:
        return None
    score = "no score" if known["rfid"] is None or context.limits.told == "none" else f"{known['rfid']:.4g}"
    return f"trial {known['trial']}, {score}"


def counted_as_text(context: SearchContext, specs: Sequence[UNetSpec]) -> str:
    """What a model reads of specs that are counted: a JSON list without what does not apply."""
    rows = [count(context, spec).model_dump(mode="json", exclude_none=True) for spec in specs]
    if len(rows) > 1:  # of several, where each one's MACs are is too much to read
        rows = [{name: row[name] for name in row if name != "share_of_each_stage"} for row in rows]
    return json.dumps(rows)


@model_tool("count_flops", CountArguments)
def count_flops(specs: list[UNetSpec], runtime: Runtime) -> tuple[str, dict[str, object]]:
    """Count what UNets cost, exactly and at once, without training them. Free: count all that you consider in one call.

    Gives for each spec its widths, MACs, params and share of the budget, and where it is so that it was tried already,
    lies outside the space, or is forbidden by a directive of the user.
    """
    text = counted_as_text(runtime.context, specs)
    return text, {"specs": json.loads(text)}
