"""Proposes training strategies without a language model: the paper's step from the standard one, then local changes.

It is the backend ``offline`` of a search for a strategy, and the fallback where a model gave no valid proposal. It
knows the bounds, the costs and what was measured, and nothing about diffusion models. The same memory and seed give
the same proposal.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

from agent.search.ending import SpaceExhausted
from diffusion.neighbourhood import one_step, shuffled, strategy_neighbours
from diffusion.settings import Strategy
from memory.strategies import StoredStrategy, strategies_of
from tools.errors import Refused
from tools.gates.strategies import WHOLE, Bound, shown
from tools.propose_strategy import StrategyContext, accuracy, allowed, bounds_of, propose, values_of


class Candidate(NamedTuple):
    """Values to propose, and why."""

    values: dict[str, float | int]
    reason: str


class LocalSearch:
    """Proposes the paper's step first, then changes one value of one of the strategies, the best first."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def propose(self, context: StrategyContext) -> None:
        """Have the first candidate accepted to which no gate objects.

        Raises:
            SpaceExhausted: there is none.
        """
        known = strategies_of(context.db, context.search)
        for candidate in self._candidates(context, known):
            try:
                propose_quietly(context, candidate)
            except Refused:
                continue
            return
        raise SpaceExhausted

    def _candidates(self, context: StrategyContext, known: list[StoredStrategy]) -> Iterator[Candidate]:
        bounds = bounds_of(context)
        yield Candidate(
            clipped(papers_step(context.bounds.standard), bounds),
            "The paper's step from its standard to its rapid strategy: twice the learning rate, a third of the "
            "dropout, a tenth of the diffusion steps; as long as the limit allows.",
        )
        for parent in sorted(known, key=merit):
            yield from self._around(parent, context, bounds)

    def _around(self, parent: StoredStrategy, context: StrategyContext, bounds: dict[str, Bound]) -> list[Candidate]:
        """What is one step from a parent, in an order fixed by the seed."""
        steps = min(parent.strategy.train_steps, context.bounds.most_steps(parent.strategy.batch_size))
        found = [_moved(parent, *step, steps, bounds) for step in strategy_neighbours(parent.strategy)]
        return shuffled(found, lambda each: json.dumps([self.seed, parent.id, each.values], sort_keys=True))


def _moved(parent: StoredStrategy, name: str, value: float, steps: int, bounds: dict[str, Bound]) -> Candidate:
    """A parent with one value changed; another batch size trains as long as the limit allows."""
    moved = clipped({name: value}, bounds)
    known = {field: value for field, value in values_of(parent.strategy).items() if field != name}
    outside = {field: value for field, value in known.items() if not within(value, bounds[field])}
    kept = known | clipped(outside, bounds)  # a directive of the user may be younger than the parent
    for filled in ("warmup_steps", *(("train_steps",) if name == "batch_size" else ())):
        kept.pop(filled, None)
    if "train_steps" in kept:
        kept["train_steps"] = max(1, steps)
    before, after = shown(getattr(parent.strategy, name)), shown(moved[name])
    reason = one_step(f"strategy {parent.id} ({accuracy(parent)})", name, before, after)
    return Candidate({**kept, **moved}, f"{reason}.")


def propose_quietly(context: StrategyContext, candidate: Candidate) -> None:
    """Propose a candidate; what a gate objects to is no refusal worth a row, since nobody asked for it.

    Raises:
        Refused: a gate objects.
    """
    allowed(context, candidate.values)
    propose(context, candidate.values, candidate.reason, json.dumps(candidate.values))


def papers_step(standard: Strategy) -> dict[str, float | int]:
    """What DiffNAS changed from its standard to its rapid strategy (arXiv 2310.04750, Section V-A), as ratios.

    Learning rate 1e-4 → 2e-4, dropout 0.3 → 0.1, diffusion steps 4000 → 400.
    """
    return {
        "learning_rate": standard.learning_rate * 2,
        "dropout": standard.dropout / 3,
        "diffusion_steps": standard.diffusion_steps // 10,
    }


def clipped(values: dict[str, float | int], bounds: dict[str, Bound]) -> dict[str, float | int]:
    """Values moved into their bounds and rounded to what a person would write."""
    inside = {name: min(max(value, bounds[name].low), bounds[name].high) for name, value in values.items()}
    return {name: int(value) if name in WHOLE else float(f"{value:.6g}") for name, value in inside.items()}


def within(value: float, bound: Bound) -> bool:
    """Whether a value lies in its bounds."""
    return bound.low <= value <= bound.high


def merit(known: StoredStrategy) -> tuple[bool, float, bool, int]:
    """Sorts strategies: measured ones by accuracy, then the others as they came, the standard one behind them."""
    tau = known.measured.tau if known.measured else None
    return tau is None, -(tau or 0.0), known.round == 0, known.id
