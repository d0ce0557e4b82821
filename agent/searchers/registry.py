"""Makes whoever proposes in a search, by name. Each is imported when it is made: Optuna alone takes 0.2 s."""

from functools import partial
from importlib import import_module
from typing import cast

from agent.backends.registry import Address
from agent.config.settings import ONLY_TYPED, RunConfig, is_own
from agent.searchers.ask_tell import AskTell
from agent.searchers.base import Proposer, Searcher
from diffusion.errors import UserError

ENTRIES = {
    "random": ("random_search", "Random"),
    "local": ("local", "Local"),
    "evolution": ("evolution", "Evolution"),
    "gp": ("gp", "GP"),
    "tpe": ("tpe", "TPE"),
    "cma": ("cma", "CMA"),
    "nag": ("nag", "NAG"),
}
"""Module and class of each that is no language model."""


def make_searcher(name: str) -> Searcher:
    """A searcher that was told nothing yet.

    Raises:
        UserError: there is none of that name.
    """
    if name not in ENTRIES:
        raise UserError(f"'{name}' is not a searcher; there are {', '.join(ENTRIES)}")
    module, maker = ENTRIES[name]
    return cast(Searcher, getattr(import_module(f"agent.searchers.{module}"), maker)())


def make_proposer(config: RunConfig, first: Address | None = None) -> Proposer:
    """Who proposes; `first` stands in for the first language model of the settings, where one is asked at all.

    Raises:
        UserError: there is no such searcher, or a backend cannot be used from here.
    """
    asked = config.search
    if is_own(asked.searcher):
        raise UserError(f"'{asked.searcher}' {ONLY_TYPED}")
    if asked.searcher == "llm":
        from agent.searchers.model.proposer import LLMProposer  # LangChain is not needed where no model is asked

        return LLMProposer.of(config, first)
    if asked.searcher == "centaur":
        from agent.searchers.centaur import Centaur, SuggestedProposer

        return Centaur(SuggestedProposer.of(config, first), _ask_tell(config, "gp"), asked.centaur_share)
    return _ask_tell(config, asked.searcher)


def _ask_tell(config: RunConfig, name: str) -> AskTell:
    return AskTell(partial(make_searcher, name), name, config.search.rounds)
