"""What the loop asks of whoever proposes."""

from collections.abc import Callable
from typing import Protocol

from tools.context import SearchContext


class Proposer(Protocol):
    """Who plays a round; see `agent.searchers.llm.LLMProposer`."""

    rounds: int  # of the search, as it is told

    def propose(self, context: SearchContext) -> None:
        """Try to bring the round's trial about."""


MakeProposer = Callable[[str, str | None], Proposer]  # (llm, base_url) → who plays with it
