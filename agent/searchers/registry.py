"""Makes whoever proposes in a search, by name. Each is imported when it is made: Optuna alone takes 0.2 s."""

from functools import partial
from importlib import import_module
from typing import NamedTuple, cast

from agent.backends.registry import Address
from agent.config.settings import RunConfig
from agent.searchers.ask_tell import AskTell
from agent.searchers.base import Proposer, Searcher
from diffusion.errors import UserError


class Entry(NamedTuple):
    """Where a searcher is, and what it does in a few words."""

    module: str
    maker: str
    does: str


ENTRIES = {
    "random": Entry("random_search", "Random", "any feasible spec, each as likely as any other"),
    "local": Entry("local", "Local", "an untried neighbour of the best trial"),
    "evolution": Entry("evolution", "Evolution", "regularised evolution: a child of the best of a few young trials"),
    "gp": Entry("gp", "GP", "the feasible spec of which a Gaussian process expects most"),
    "tpe": Entry("tpe", "TPE", "Optuna's tree-structured Parzen estimator"),
    "cma": Entry("cma", "CMA", "CMA-ES with margin over the places of the space"),
}

SEARCHERS = {name: entry.does for name, entry in ENTRIES.items()}
"""One line about each, for help and tables."""


def make_searcher(name: str) -> Searcher:
    """A searcher that was told nothing yet.

    Raises:
        UserError: there is none of that name.
    """
    if name not in ENTRIES:
        raise UserError(f"'{name}' is not a searcher; there are {', '.join(ENTRIES)}")
    entry = ENTRIES[name]
    return cast(Searcher, getattr(import_module(f"agent.searchers.{entry.module}"), entry.maker)())


def make_proposer(config: RunConfig, first: Address | None = None) -> Proposer:
    """Who proposes; `first` stands in for the first language model of the settings, where one is asked at all.

    Raises:
        UserError: there is no such searcher, or a backend cannot be used from here.
    """
    asked = config.search
    if asked.searcher == "llm":
        from agent.searchers.llm import LLMProposer  # LangChain is not needed where no model is asked

        return LLMProposer.of(config, first)
    if asked.searcher == "centaur":
        from agent.searchers.centaur import Centaur, SuggestedProposer

        return Centaur(SuggestedProposer.of(config, first), _ask_tell(config, "gp"), asked.centaur_share)
    return _ask_tell(config, asked.searcher)


def _ask_tell(config: RunConfig, name: str) -> AskTell:
    return AskTell(partial(make_searcher, name), name, config.search.rounds)
