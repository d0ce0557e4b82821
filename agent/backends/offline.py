"""A deterministic chat model for machines without a language model: it drives the very same agent, prompts and tools.

It knows nothing but what the tools tell it. Each round it asks the memory what is left and what did best, and walks to
an untried neighbour of one of the best specs that fits the budget: a local search, and honest about it. It obeys the
directives of the user that the memory shows, and names those that took a nearer spec away. The same messages give the
same answer, tool-call ids included.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable

from diffusion.errors import UserError
from diffusion.neighbourhood import distances, moved, neighbours, one_step, shuffled
from diffusion.networks import distinct, network, spellings
from diffusion.settings import Family
from diffusion.space import SearchSpace
from diffusion.spec import UNetSpec
from tools.gates.directive_kinds import Mode, parse_directive
from tools.gates.limits import DirectiveKind, Shape, shapes_leave

SUGGEST = "suggest_architectures"
PARENTS = 2  # how many of the best specs are walked from
FARTHER = 30  # specs that are counted when no neighbour may be tried
COUNTED = 8  # of one call
ASKS: dict[str, dict[str, Any]] = {
    "remaining": {"question": "remaining"},
    "best": {"question": "best", "limit": 50},
}
IN_THE_WAY = {"already_tried", "outside_space", "forbidden"}
CHARACTERS_PER_TOKEN = 4  # a common rule of thumb; these tokens cost nothing


class OfflineModel(BaseChatModel):
    """Proposes local changes to the best specs; see the module's docstring."""

    seed: int = 0
    is_suggested_to: bool = False  # whether the surrogate's suggestions are among its tools: then it takes the first

    @property
    def _llm_type(self) -> str:
        return "diffnas-offline"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """The tools are known; which of them are there is noted."""
        return self.model_copy(update={"is_suggested_to": any(tool.name == SUGGEST for tool in tools)})

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
        if self.is_suggested_to:
            return _first_suggestion(messages, seen)
        if not seen.said_of("remaining"):
            return call(messages, "query_memory", **ASKS["remaining"])
        if not seen.results_of("best"):
            return call(messages, "query_memory", **ASKS["best"])
        if counted := seen.within_budget():
            return call(messages, "train_ract", spec=str(counted), reason=self._reason(seen, counted))
        candidates = [str(spec) for spec in islice(self._candidates(seen), COUNTED)]
        if not candidates and (seen.directives() or seen.is_told_nothing):
            return AIMessage("No spec that I can find obeys the directives within the budget.")  # the fallback may
        if not candidates:
            return call(messages, "finish_search", reason="No untried neighbour of the best specs fits the budget.")
        return call(messages, "count_flops", specs=candidates)

    def _candidates(self, seen: "Thread") -> Iterator[UNetSpec]:
        """Untried specs that the directives leave, in the order in which they are counted."""
        directives, tried, family = seen.directives(), seen.tried(), seen.family()
        for spec in self._walk(seen, directives):
            if network(spec, family) not in tried and (left := spelling_left(seen, directives, spec)):
                yield left

    def _walk(self, seen: "Thread", directives: dict[str, DirectiveKind]) -> Iterator[UNetSpec]:
        """Neighbours of the best specs, best parent first, each parent's in an order fixed by the seed.

        With directives then the nearest specs that they leave; to explore, such specs from the whole space alone.
        """
        space, mode = seen.space(), mode_of(directives)
        if seen.is_told_nothing:
            yield from self._farther(seen, directives, next(iter(space)), explores=True)
            return
        parents = seen.ranking()[: 1 if mode == "exploit" else PARENTS] or [next(iter(space))]
        if mode != "explore":
            for parent in parents:
                near = map(UNetSpec.from_row, neighbours(space, parent, seen.family()))
                yield from shuffled(near, lambda spec: f"{self.seed}/{spec}")
        if directives:
            yield from self._farther(seen, directives, parents[0], explores=mode == "explore")

    def _farther(
        self, seen: "Thread", directives: dict[str, DirectiveKind], parent: UNetSpec, *, explores: bool
    ) -> Iterator[UNetSpec]:
        number = seen.rounds_done if seen.is_told_nothing else len(seen.ranking())
        rows = shapes_leave(seen.space(), directives.values())
        rows = distinct(rows, seen.family())
        random.Random(digest(self.seed, "farther", number)).shuffle(order := list(range(len(rows))))
        if not explores:
            apart = distances(rows, parent)
            order = sorted(order, key=lambda index: float(apart[index]))
        return (UNetSpec.from_row(rows[index]) for index in order[: FARTHER + number])

    def _reason(self, seen: "Thread", chosen: UNetSpec) -> str:
        """Why this spec, and which directives took specs away that came before it."""
        directives, names = seen.directives(), list[str]()
        for spec in self._walk(seen, directives):
            if network(spec, seen.family()) == network(chosen, seen.family()):
                break
            if spelling_left(seen, directives, spec) is None:
                names += [name for name in forbidding(directives, spec) if name not in names]
        if mode := next((name for name, each in directives.items() if isinstance(each, Mode)), None):
            names.append(mode)
        obeys = f" It obeys {', '.join([*names, *seen.counted_out()])}." if names or seen.counted_out() else ""
        return seen.reason(chosen) + obeys


def _first_suggestion(messages: list[BaseMessage], seen: "Thread") -> AIMessage:
    """Ask for suggestions, train the first one."""
    if not seen.answers(SUGGEST) or seen.was_refused_since(SUGGEST):
        return call(messages, SUGGEST, count=1)
    answer = seen.answers(SUGGEST)[-1]
    if not (suggestions := answer["suggestions"]):
        return AIMessage("Nothing is suggested: every network that the limits leave was tried or refused.")
    return call(messages, "train_ract", spec=suggestions[0]["spec"], reason=_said_of(answer))


def _said_of(answer: dict[str, Any]) -> str:
    """Why the first suggestion of an answer is trained, and how well the surrogate did so far."""
    if (predicted := answer["suggestions"][0].get("predicted")) is None:
        return "The first suggestion, drawn at random: there are too few scores for a surrogate."
    return (
        f"The surrogate's first suggestion: expected improvement {predicted['expected_improvement']}, predicted "
        f"{predicted['score']:.4g} (90 %: {predicted['low90']:.4g} to {predicted['high90']:.4g}). So far "
        f"{answer['surrogate']['calibration']}."
    )


class Thread:
    """What the messages of one round say."""

    def __init__(self, messages: list[BaseMessage]) -> None:
        self.messages = messages
        self.calls = {call["id"]: call for m in messages if isinstance(m, AIMessage) for call in m.tool_calls}

    def answers(self, tool: str) -> list[Any]:
        """The JSON answers of a tool, oldest first; refusals are left out."""
        return [json.loads(m.text) for m in self._results(tool) if m.status == "success"]

    def results_of(self, question: str) -> list[ToolMessage]:
        """The answers and refusals to our question of the memory; others may have asked theirs in the same round."""
        return [m for m in self._results("query_memory") if self.calls[m.tool_call_id]["args"] == ASKS[question]]

    def said_of(self, question: str) -> list[Any]:
        """The answers among them, oldest first."""
        return [json.loads(m.text) for m in self.results_of(question) if m.status == "success"]

    @property
    def is_told_nothing(self) -> bool:
        """Whether the memory answers nothing about trials."""
        return len(self.results_of("best")) > len(self.said_of("best"))

    @property
    def rounds_done(self) -> int:
        """The rounds that are over."""
        return int(self.left["rounds_done"])

    @property
    def left(self) -> dict[str, Any]:
        """What the memory says is left."""
        found: dict[str, Any] = self.said_of("remaining")[-1][0]
        return found

    def was_refused_since(self, tool: str) -> bool:
        """Whether a proposal was refused after the last answer of a tool."""
        last = max((place for place, m in enumerate(self.messages) if m in self._results(tool)), default=-1)
        return any(m.status == "error" for m in self._results("train_ract") if self.messages.index(m) > last)

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
        return SearchSpace.from_choices("search", self.left["space"])

    def family(self) -> Family:
        """What a spec becomes: it decides which specs are one network."""
        family: Family = self.left["family"]
        return family

    def directives(self) -> dict[str, DirectiveKind]:
        """What the user told, by the name under which it is cited."""
        directives = self.left.get("directives", [])
        return {each["name"]: parse_directive(each["kind"], each["arguments"]) for each in directives}

    def counted_out(self) -> list[str]:
        """The directives that forbade a spec of this round by what it costs."""
        sentences = [row.get("forbidden") or "" for row in self.counted()]
        return [name for name in self.directives() if any(name in sentence for sentence in sentences)]

    def ranking(self) -> list[UNetSpec]:
        """The scored specs, best first."""
        return [UNetSpec.parse(row["spec"]) for row in self.rows_of_best()]

    def rows_of_best(self) -> list[dict[str, Any]]:
        """The scored trials, best first; none where the memory does not tell."""
        return next(iter(self.said_of("best")[-1:]), [])

    def tried(self) -> set[str]:
        """The networks under way or over in this search, or counted or refused in this round."""
        counted = [row["spec"] for row in self.counted()]
        proposed = [call["args"]["spec"] for call in self.calls.values() if call["name"] == "train_ract"]
        taken = [*self.left["without_score"], *(row["spec"] for row in self.left["running"])]
        specs = [*self.ranking(), *filter(None, map(_parsed, [*counted, *proposed, *taken]))]
        return {network(spec, self.family()) for spec in specs}

    def counted(self) -> list[dict[str, Any]]:
        """What was counted in this round, oldest first."""
        return [row for answer in self.answers("count_flops") for row in answer]

    def within_budget(self) -> UNetSpec | None:
        """The first spec counted that may be trained and was not proposed yet."""
        refused = {str(self.calls[m.tool_call_id]["args"]["spec"]) for m in self._results("train_ract")}
        left = (row for row in self.counted() if row["within_budget"] and row.keys().isdisjoint(IN_THE_WAY))
        return next((UNetSpec.parse(row["spec"]) for row in left if row["spec"] not in refused), None)

    def reason(self, spec: UNetSpec) -> str:
        """Which step this is, from which trial, at which share of the budget."""
        share = next(row["share_of_budget"] for row in self.counted() if row["spec"] == str(spec))
        for row in self.rows_of_best():
            if len(differs := moved(UNetSpec.parse(row["spec"]), spec)) == 1:
                ((name, values),) = differs.items()
                step = one_step(f"trial {row['trial']} ({row['rfid']:.4g})", name, *values)
                return f"{step}; {share:.0%} of the budget."
        return f"A spec of the space that no single step leads to; {share:.0%} of the budget."


def _parsed(spec: Any) -> UNetSpec | None:
    """A spec, if it is one: another model may have proposed it in the same round."""
    try:
        return UNetSpec.parse(spec)
    except UserError:
        return None


def spelling_left(seen: Thread, directives: dict[str, DirectiveKind], spec: UNetSpec) -> UNetSpec | None:
    """The first spelling of a network in the space that no directive forbids by its numbers."""
    space = seen.space()
    members = (each for each in spellings(spec, seen.family()) if space.why_not(each) is None)
    return next((each for each in members if not forbidding(directives, each)), None)


def forbidding(directives: dict[str, DirectiveKind], spec: UNetSpec) -> list[str]:
    """The names of the directives that forbid a spec by its numbers."""
    rows = np.array([spec.row], dtype=np.int64)
    return [name for name, limit in directives.items() if isinstance(limit, Shape) and not limit.leaves(rows)[0]]


def mode_of(directives: dict[str, DirectiveKind]) -> str | None:
    """Whether to explore or to exploit; of several wishes the latest counts."""
    return next((each.mode for each in reversed(directives.values()) if isinstance(each, Mode)), None)


def call(messages: list[BaseMessage], tool: str, **arguments: Any) -> AIMessage:
    """An answer that calls one tool; its id is a function of the conversation."""
    identity = digest(len(messages), tool, json.dumps(arguments, sort_keys=True))
    return AIMessage("", tool_calls=[{"name": tool, "args": arguments, "id": f"call_{identity}", "type": "tool_call"}])


def digest(*parts: object) -> str:
    """Twelve hex digits that stand for the parts."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:12]
