"""Who proposes a training strategy: a language model with one tool, or the local search of ``offline``.

The agent, its retries, repairs and records are those of `agent.searchers.model.proposer`; one prompt carries the task
and all that was measured. Nothing is measured here.
"""

from typing import Any, ClassVar, Protocol

from langchain.agents.middleware import hook_config
from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool
from langgraph.runtime import Runtime
from sqlite_utils import Database

from agent.backends.registry import make_chain
from agent.config.backend import OFFLINE
from agent.config.settings import RunConfig
from agent.searchers.model.middleware import RoundEnd, State, Update
from agent.searchers.model.proposer import LLMProposer
from agent.strategy.local_search import LocalSearch
from memory.strategies import StoredStrategy, refused_strategies, strategies_of, strategy_in_round
from prompts.origin import origin
from prompts.render import render
from tools.context import SearchContext
from tools.gates.strategies import FIELDS, shown
from tools.propose_strategy import StrategyContext, accuracy, bounds_of, propose_strategy, values_of

SHOWN_REFUSALS = 5


class Proposer(Protocol):
    """Who plays a round: `StrategyProposer` or `LocalSearch`."""

    def propose(self, context: Any) -> None:
        """Try to bring the round's strategy about."""


class StrategyRoundEnd(RoundEnd):
    """Ends a round also when its strategy was accepted."""

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: State, runtime: Runtime[SearchContext]) -> Update:
        """Look before each call of the model.

        Raises:
            Interrupted: the user stops the search.
        """
        over = in_round(runtime.context) is not None
        return {"jump_to": "end"} if over else super().before_model(state, runtime)


class StrategyProposer(LLMProposer):
    """Plays the rounds of a search for a strategy with a chat model: one prompt, one tool."""

    tools: ClassVar[list[BaseTool]] = [propose_strategy]
    round_end = StrategyRoundEnd

    def _system_prompt(self, context: SearchContext) -> None:
        return None

    def _round_prompt(self, context: SearchContext) -> HumanMessage:
        assert isinstance(context, StrategyContext)
        values = prompt_values(context.db, context, self.rounds)
        return HumanMessage(render("strategy", **values), additional_kwargs=origin("strategy", values=values))


def prompt_values(db: Database, context: StrategyContext, rounds: int) -> dict[str, Any]:
    """The variables of the prompt."""
    settings, limits = context.limits.protocol.settings, context.bounds
    return {
        "dataset": settings.dataset,
        "train_images": limits.train_images,
        "resolution": settings.resolution,
        "channels": settings.channels,
        "family": settings.family,
        "schedule": settings.schedule,
        "standard": ", ".join(f"{name}={value}" for name, value in limits.standard.model_dump().items()),
        "metric": context.limits.protocol.score.metric,
        "sampling_steps": context.limits.protocol.score.sampling_steps,
        "cost_limit": f"{limits.cost_limit:.4g}",
        "standard_images": limits.standard_images,
        "allowed_images": limits.allowed_images,
        "bounds": [
            {"name": name, "low": shown(bound.low), "high": shown(bound.high)}
            for name, bound in bounds_of(context).items()
            if name != "warmup_steps"
        ],
        "fields": FIELDS,
        "round": context.round_number,
        "rounds": rounds,
        "strategies": [strategy_row(known) for known in strategies_of(db, context.search)],
        "refused": [
            f"round {row['round']}: {row['why']}" for row in refused_strategies(db, context.search, SHOWN_REFUSALS)
        ],
    }


def strategy_row(known: StoredStrategy) -> dict[str, Any]:
    """One line of the prompt's table."""
    return {
        "strategy": known.id,
        "cells": [shown(value) for value in values_of(known.strategy).values()],
        "cost": f"{known.cost:.3g}",
        "accuracy": accuracy(known),
        "proposer": known.proposer,
    }


def make_proposer(config: RunConfig) -> Proposer:
    """Who proposes, by the backend of the settings."""
    if config.backend.llm == OFFLINE:
        return LocalSearch(config.search.seed)
    return StrategyProposer(
        make_chain(config), config.search.rounds, config.backend.llm_retries, config.backend.llm_retry_seconds
    )


def in_round(context: SearchContext) -> StoredStrategy | None:
    """The strategy of the context's round, if one was accepted."""
    return strategy_in_round(context.db, context.search, context.round_number)
