"""A deterministic chat model for machines without a language model: it drives the very same agent, prompts and tools.

It knows nothing but what the tools tell it. Each round it asks the memory what is left and what did best, and walks to
an untried neighbour of one of the best specs that fits the budget: a local search, and honest about it. The same
messages give the same answer, tool-call ids included.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable

from diffusion.spec import PARAMETERS, SearchSpace, UNetSpec

PARENTS = 2  # how many of the best specs are walked from
CHARACTERS_PER_TOKEN = 4  # a common rule of thumb; these tokens cost nothing


class OfflineModel(BaseChatModel):
    """Proposes local changes to the best specs; see the module's docstring."""

    seed: int = 0

    @property
    def _llm_type(self) -> str:
        return "diffnas-offline"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """The tools are known; nothing to bind."""
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = self._answer(messages)
        read = sum(len(message.text) for message in messages) // CHARACTERS_PER_TOKEN
        written = len(json.dumps(message.tool_calls)) // CHARACTERS_PER_TOKEN
        message.usage_metadata = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _answer(self, messages: list[BaseMessage]) -> AIMessage:
        seen = Thread(messages)
        if not seen.answers("query_memory"):
            return call(messages, "query_memory", question="remaining")
        if len(seen.answers("query_memory")) == 1:
            return call(messages, "query_memory", question="best", limit=50)
        if trained := seen.trained():
            return call(messages, "evaluate_fid", trial=trained)
        if counted := seen.within_budget():
            return call(messages, "train_ract", spec=fields(counted), reason=seen.reason(counted))
        candidate = next(self._candidates(seen), None)
        if candidate is None:
            return call(messages, "finish_search", reason="No untried neighbour of the best specs fits the budget.")
        return call(messages, "count_flops", spec=fields(candidate))

    def _candidates(self, seen: "Thread") -> Iterator[UNetSpec]:
        """Untried neighbours of the best specs, best parent first, each parent's in an order fixed by the seed."""
        space, tried = seen.space(), seen.tried()
        for parent in seen.ranking()[:PARENTS] or [next(iter(space))]:
            neighbours = [spec for spec in space.neighbours(parent) if spec not in tried]
            yield from sorted(neighbours, key=lambda spec: digest(self.seed, str(spec)))


class Thread:
    """What the messages of one round say."""

    def __init__(self, messages: list[BaseMessage]) -> None:
        self.messages = messages
        self.calls = {call["id"]: call for m in messages if isinstance(m, AIMessage) for call in m.tool_calls}

    def answers(self, tool: str) -> list[Any]:
        """The JSON answers of a tool, oldest first; refusals are left out."""
        return [json.loads(m.text) for m in self._results(tool) if m.status == "success"]

    def _results(self, tool: str) -> list[ToolMessage]:
        return [
            m
            for m in self.messages
            if isinstance(m, ToolMessage)
            and m.tool_call_id in self.calls
            and self.calls[m.tool_call_id]["name"] == tool
        ]

    def space(self) -> SearchSpace:
        """The search space as the memory describes it."""
        choices = self.answers("query_memory")[0][0]["space"]
        return SearchSpace(
            name="search",
            base_channel=choices["base_channel"],
            num_blocks=choices["num_blocks"],
            channel_mult=choices["mult_0"],
            attn=choices["attn_0"],
        )

    def ranking(self) -> list[UNetSpec]:
        """The scored specs, best first."""
        return [UNetSpec.parse(row["spec"]) for row in self.answers("query_memory")[1]]

    def tried(self) -> set[UNetSpec]:
        """Under way or over in this search, or counted or refused in this round."""
        counted = {UNetSpec.parse(answer["spec"]) for answer in self.answers("count_flops")}
        proposed = {
            UNetSpec.parse(call["args"]["spec"]) for call in self.calls.values() if call["name"] == "train_ract"
        }
        left = self.answers("query_memory")[0][0]
        taken = {UNetSpec.parse(text) for text in [*left["without_score"], *(row["spec"] for row in left["running"])]}
        return {*self.ranking(), *counted, *proposed, *taken}

    def within_budget(self) -> UNetSpec | None:
        """The spec counted last, if it may be trained and was not proposed yet."""
        counted = self.answers("count_flops")
        if not counted or not counted[-1]["within_budget"] or counted[-1]["outside_space"]:
            return None
        refused = {UNetSpec.parse(self.calls[m.tool_call_id]["args"]["spec"]) for m in self._results("train_ract")}
        spec = UNetSpec.parse(counted[-1]["spec"])
        return None if spec in refused else spec

    def trained(self) -> int | None:
        """The trial that waits for its score."""
        results = self.answers("train_ract")
        return int(results[-1]["trial"]) if results and results[-1]["status"] in ("trained", "cached") else None

    def reason(self, spec: UNetSpec) -> str:
        """Which step this is, from which trial, at which share of the budget."""
        share = self.answers("count_flops")[-1]["share_of_budget"]
        for row in self.answers("query_memory")[1]:
            moved = [
                f"{name} {old} → {new}"
                for name, old, new in zip(PARAMETERS, UNetSpec.parse(row["spec"]).row, spec.row, strict=True)
                if old != new
            ]
            if len(moved) == 1:
                return f"One step from trial {row['trial']} ({row['rfid']:.4g}): {moved[0]}; {share:.0%} of the budget."
        return f"A first spec of the space; {share:.0%} of the budget."


def call(messages: list[BaseMessage], tool: str, **arguments: Any) -> AIMessage:
    """An answer that calls one tool; its id is a function of the conversation."""
    identity = digest(len(messages), tool, json.dumps(arguments, sort_keys=True))
    return AIMessage("", tool_calls=[{"name": tool, "args": arguments, "id": f"call_{identity}", "type": "tool_call"}])


def fields(spec: UNetSpec) -> dict[str, Any]:
    """A spec as the JSON object that the tools take."""
    return spec.model_dump(mode="json")


def digest(*parts: object) -> str:
    """Twelve hex digits that stand for the parts."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:12]
