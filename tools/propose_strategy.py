"""The tool that proposes a training strategy: it passes the gates, costs nothing, and becomes a row in memory.

Whether the strategy ranks well is measured after the round, by whoever drives the search; nothing is trained here.
"""

import json
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, Field

from diffusion.settings import Strategy
from memory.directives import DirectiveRow, active_directives
from memory.redaction import redact
from memory.strategies import AlreadyProposed, StoredStrategy, accept_strategy, same_strategy, strategy_in_round
from tools.arguments import Arguments, Runtime, model_tool
from tools.context import SearchContext
from tools.errors import Refused
from tools.gates.directive_kinds import StrategyBounds, directive_of
from tools.gates.strategies import FIELDS, Bound, StrategyLimits, Values, shown
from tools.refusals import REASON_CHARACTERS, write_refusal


@dataclass(frozen=True)
class StrategyContext(SearchContext):
    """One round of a search for a strategy: that of any search, and what bounds the proposals."""

    bounds: StrategyLimits = field(kw_only=True)


class StrategyArguments(Arguments):
    """What `propose_strategy` takes."""

    learning_rate: Annotated[float, Field(description="Step size of the optimiser once the warm-up is over.")]
    dropout: Annotated[float, Field(description="Dropout inside the residual blocks.")]
    diffusion_steps: Annotated[int, Field(description="Steps of the noise process that the network is trained on.")]
    reason: Annotated[
        str, Field(min_length=1, description="One sentence: why this strategy should rank architectures well.")
    ]
    batch_size: Annotated[
        int | None, Field(description="Images of an optimiser step. Left out: the standard strategy's.")
    ] = None
    train_steps: Annotated[
        int | None, Field(description="Optimiser steps of a training. Left out: as many as the cost limit allows.")
    ] = None
    warmup_steps: Annotated[
        int | None,
        Field(
            description="Steps over which the learning rate rises from zero, at most half of train_steps. "
            "Left out: the same share of the training as in the standard strategy."
        ),
    ] = None
    ema_decay: Annotated[
        float | None,
        Field(
            description="Decay of the averaged weights that are scored; they look back about 1 / (1 - ema_decay) "
            "steps. After s steps it is at most (1 + s) / (10 + s): of 600 steps all from 0.986 on are one strategy. "
            "Left out: the standard strategy's."
        ),
    ] = None


class StrategyResult(BaseModel):
    """A strategy that was accepted."""

    strategy: int
    values: dict[str, float | int]
    cost: float
    cost_limit: float
    next: str


def propose(context: StrategyContext, values: Values, reason: str, raw_text: str = "") -> StrategyResult:
    """Gate and record one proposal; the same one again in its round is the row that is there.

    Raises:
        Refused: a gate objects; the refusal is a row in memory.
    """
    reason = redact(" ".join(reason.split()))[:REASON_CHARACTERS]
    try:
        strategy = allowed(context, values)
        number = _accept(context, strategy, reason, raw_text)
    except Refused as objection:
        _remember(context, objection, values, reason, raw_text)
        raise
    cost = round(context.bounds.cost(strategy), 4)
    context.report(
        "strategy.proposed",
        strategy=number,
        values=values_of(strategy),
        cost=cost,
        proposer=context.proposer,
        reason=reason,
    )
    return StrategyResult(
        strategy=number,
        values=values_of(strategy),
        cost=cost,
        cost_limit=context.bounds.cost_limit,
        next="This round is over.",
    )


def allowed(context: StrategyContext, values: Values) -> Strategy:
    """The strategy of proposed values, if every gate agrees. Nothing is written.

    Raises:
        Refused: outside the bounds or those of the user, over the cost limit, tried before, or the second of its round.
    """
    strategy = context.bounds.strategy(values)
    _check_bounds(context, strategy)
    db = context.db
    known = same_strategy(db, context.search, strategy)
    taken = strategy_in_round(db, context.search, context.round_number)
    if known is not None and known.round != context.round_number:
        raise Refused("repeated", _repeated(known))
    if taken is not None and known is None:
        raise Refused("round_taken", f"This round already has strategy {taken.id}; a round takes one.")
    return strategy


def bounds_of(context: StrategyContext) -> dict[str, Bound]:
    """The bounds of each field, within those that the user set."""
    found = context.bounds.bounds()
    for _, told in user_bounds(context):
        low, high = found[told.field]
        inside = Bound(max(low, told.low), min(high, told.high))
        found[told.field] = inside if inside.low <= inside.high else found[told.field]
    return found


def user_bounds(context: StrategyContext) -> list[tuple[DirectiveRow, StrategyBounds]]:
    """The directives that bound the strategies of this search, oldest first."""
    active = active_directives(context.db, context.search)
    contents = [(directive, directive_of(directive)) for directive in active]
    return [(directive, bounds) for directive, bounds in contents if isinstance(bounds, StrategyBounds)]


def _check_bounds(context: StrategyContext, strategy: Strategy) -> None:
    """Every bound that the user set must hold.

    Raises:
        Refused: one does not; the sentence names the directive.
    """
    for directive, bounds in user_bounds(context):
        if not bounds.low <= getattr(strategy, bounds.field) <= bounds.high:
            value = shown(getattr(strategy, bounds.field))
            sentence = f"{bounds.field} {value} breaks {directive.name} ({bounds.say()})"
            raise Refused("directive", f"{sentence}; take a value within.", directive.id)


def values_of(strategy: Strategy) -> dict[str, float | int]:
    """The searched values of a strategy by their names."""
    return {name: getattr(strategy, name) for name in FIELDS}


def accuracy(known: StoredStrategy) -> str:
    """How well a strategy was seen to rank, in words."""
    if known.error is not None:
        return f"could not be measured: {known.error}"
    if known.measured is None:
        return "not measured"
    seconds = known.measured.seconds_each
    return str(known.measured) + ("" if seconds is None else f", {seconds:.3g} device-seconds per training")


def _repeated(known: StoredStrategy) -> str:
    name = "the standard strategy" if known.round == 0 else f"strategy {known.id} of round {known.round}"
    return f"These values are {name} already ({accuracy(known)}). Propose other values."


def _accept(context: StrategyContext, strategy: Strategy, reason: str, raw_text: str) -> int:
    try:
        return accept_strategy(
            context.db,
            context.search,
            context.round_number,
            proposer=context.proposer,
            raw_text=raw_text,
            reason=reason,
            strategy=strategy,
            cost=context.bounds.cost(strategy),
        )
    except AlreadyProposed as error:  # by another process, since the gates were asked
        raise Refused("repeated", _repeated(error.known)) from None


def _remember(context: StrategyContext, objection: Refused, values: Values, reason: str, raw_text: str) -> None:
    """Write a refusal into memory and say it."""
    given = {name: value for name, value in values.items() if value is not None}
    told = json.dumps(given)
    proposal = write_refusal(context, objection, f"a strategy: {told}", reason=reason, raw_text=raw_text or told)
    context.report("strategy.refused", proposal=proposal, proposer=context.proposer, reason=redact(str(objection)))


@model_tool("propose_strategy", StrategyArguments)
def propose_strategy(
    learning_rate: float,
    dropout: float,
    diffusion_steps: int,
    reason: str,
    runtime: Runtime,
    batch_size: int | None = None,
    train_steps: int | None = None,
    warmup_steps: int | None = None,
    ema_decay: float | None = None,
) -> tuple[str, dict[str, object]]:
    """Propose one rapid training strategy: how candidates are trained cheaply, so that they can be ranked.

    Its cost is train_steps times batch_size, as a share of the standard strategy's, and must not exceed the limit. A
    strategy outside its bounds, over the limit, or proposed before is refused before anything is spent, and the answer
    says what would be right. An accepted one ends the round; how well it ranks is measured afterwards and shown in
    later rounds.
    """
    values: dict[str, Any] = {
        "learning_rate": learning_rate,
        "dropout": dropout,
        "diffusion_steps": diffusion_steps,
        "batch_size": batch_size,
        "train_steps": train_steps,
        "warmup_steps": warmup_steps,
        "ema_decay": ema_decay,
    }
    context = runtime.context
    assert isinstance(context, StrategyContext), "this tool runs in searches for a strategy alone"
    raw_text = json.dumps({"tool": "propose_strategy", "reason": reason, **values})
    with context.one_at_a_time:
        result = propose(context, values, reason, raw_text)
    return result.model_dump_json(), result.model_dump(mode="json")
