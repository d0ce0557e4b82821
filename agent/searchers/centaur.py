"""The searcher `centaur`: a surrogate owns the state of the search, and a language model that sees it decides at times.

In most rounds the surrogate's first suggestion is trained, as `gp` would have it. In a share of them, which the seed
fixes, the model plays the round with the tool `suggest_architectures`: it may take a suggestion or depart from all of
them, and then it has to say why. The idea is that of "Centaur" (arXiv 2603.24647), where a model that sees the state of
a classical optimiser beat both alone. A model that always takes the first suggestion makes this the searcher `gp`.
"""

import json
import random
from collections.abc import Callable
from typing import Any, ClassVar

from langchain.agents.middleware.types import AgentMiddleware, ToolCallRequest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langgraph.types import Command

from agent.searchers.ask_tell import AskTell
from agent.searchers.model.middleware import State, context_of
from agent.searchers.model.proposer import TOOLS, LLMProposer
from diffusion.errors import UserError
from diffusion.networks import network
from diffusion.spec import UNetSpec
from diffusion.streams import stream_seed
from memory.trials import UNEXPLAINED
from tools.context import SearchContext
from tools.errors import Refused
from tools.gates.feasible import feasible
from tools.refusals import refuse
from tools.suggest_architectures import suggest_architectures

DEPARTS = "depart"  # what the reason of a spec that was not suggested has to hold


class Centaur:
    """Plays a round with the surrogate or with the model, by the seed and the round alone."""

    def __init__(self, model: LLMProposer, surrogate: AskTell, share: float) -> None:
        self.model, self.surrogate, self.share = model, surrogate, share

    @property
    def rounds(self) -> int:
        """Of the search, as both are told."""
        return self.model.rounds

    @rounds.setter
    def rounds(self, rounds: int) -> None:
        self.model.rounds = self.surrogate.rounds = rounds

    def propose(self, context: SearchContext) -> None:
        """Try to bring the round's trial about; where nothing is left no model is asked."""
        decides = is_models(context.jobs.seed, context.round_number, self.share)
        player = self.model if decides and len(feasible(context).rows) else self.surrogate
        player.propose(context)


def is_models(seed: int, round_number: int, share: float) -> bool:
    """Whether the model decides in a round."""
    return random.Random(stream_seed(seed, "centaur", round_number)).random() < share


class SaysWhy(AgentMiddleware[State, SearchContext]):
    """What the surrogate does not suggest is trained only with a reason for the departure."""

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Refuse an unexplained departure, with what would be right."""
        call = request.tool_call
        sentence = unexplained(request) if call["name"] == "train_ract" else None
        if sentence is None:
            return handler(request)
        spec, raw_text = UNetSpec.parse(call["args"]["spec"]), json.dumps(call["args"], default=str)
        refuse(context_of(request), Refused(UNEXPLAINED, sentence), spec=spec, raw_text=raw_text)
        return ToolMessage(sentence, tool_call_id=call["id"], name=call["name"], status="error")


def unexplained(request: ToolCallRequest) -> str | None:
    """Why a proposal is not to be trained yet; None where it may be."""
    messages, arguments = request.state["messages"], request.tool_call["args"]
    try:
        spec = UNetSpec.parse(arguments["spec"])
    except (UserError, KeyError):
        return None  # the tool says what is wrong with it
    answers = [m for m in messages if isinstance(m, ToolMessage) and m.name == suggest_architectures.name]
    suggested = [UNetSpec.parse(each["spec"]) for m in answers if m.status == "success" for each in _found(m)]
    family = context_of(request).limits.protocol.settings.family
    if not answers:
        return "Ask suggest_architectures first, which costs nothing; then train a suggestion, or depart from it."
    if network(spec, family) in {network(each, family) for each in suggested}:
        return None
    if DEPARTS in str(arguments.get("reason", "")).lower():
        return None
    return (
        f"{spec} is not among the suggestions. Train one of them, or give a reason that says why you depart from them, "
        'such as "departs from the suggestions: …".'
    )


def _found(message: ToolMessage) -> list[dict[str, Any]]:
    """The suggestions that an answer holds."""
    suggestions: list[dict[str, Any]] = json.loads(message.text)["suggestions"]
    return suggestions


class SuggestedProposer(LLMProposer):
    """Plays rounds with a chat model that sees the surrogate."""

    tools: ClassVar[list[BaseTool]] = [*TOOLS, suggest_architectures]
    suggests: ClassVar[bool] = True

    def more_middleware(self) -> list[AgentMiddleware[Any, SearchContext]]:
        """A departure is explained."""
        return [SaysWhy()]
