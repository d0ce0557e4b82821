"""Makes whoever proposes in a search, from its settings."""

from functools import partial

from agent.backends.registry import Address
from agent.config.settings import RunConfig
from agent.searchers.ask_tell import AskTell
from agent.searchers.base import Proposer
from agent.searchers.registry import make_searcher


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
    return AskTell(partial(make_searcher, name), name, config.search.rounds, config.search.memory)
