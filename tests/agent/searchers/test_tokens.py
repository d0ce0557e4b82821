"""What a round of a capable model costs: its calls, and the tokens that it reads in them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field
from searches import TinySearch

from agent.searchers.model.proposer import TOOLS
from diffusion.neighbourhood import neighbours
from diffusion.space import built_in
from diffusion.spec import UNetSpec

ROUNDS = 8
SPACE = built_in("digits-8")
REASON = "One step from the best in the width of a late stage, where the effects above promise most for its MACs."


class Careful(BaseChatModel):
    """Counts several neighbours of the best spec in one call, chooses by widths and cost, and trains once.

    With `asks_first` it looks two questions up before that, as a model does that reads the memory.
    """

    asks_first: bool = False
    read: list[int] = Field(default_factory=list)  # tokens of each call, tools included
    calls_of_rounds: list[int] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "careful"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.read.append(count_tokens_approximately(messages, tools=TOOLS))
        answers = [message for message in messages if isinstance(message, ToolMessage)]
        if not answers:
            self.calls_of_rounds.append(0)
        self.calls_of_rounds[-1] += 1
        name, arguments = self._next(messages[1].text, answers)
        call = {"name": name, "args": arguments, "id": f"call_{len(self.read)}", "type": "tool_call"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])

    def _next(self, prompt: str, answers: list[ToolMessage]) -> tuple[str, dict[str, Any]]:
        if self.asks_first and len(answers) < 2:
            questions: list[dict[str, Any]] = [
                {"question": "best", "limit": 5},
                {"question": "effect", "parameter": "width_2"},
            ]
            return "query_memory", questions[len(answers)]
        counted = [row for answer in answers if answer.name == "count_flops" for row in json.loads(answer.text)]
        if not counted:
            return "count_flops", {"specs": list(near_the_best(prompt))[:6]}
        free = [row for row in counted if row["within_budget"] and "already_tried" not in row]
        chosen = max(free, key=lambda row: sum(map(int, row["widths"].split("."))))
        return "train_ract", {"spec": chosen["spec"], "reason": REASON}


def near_the_best(prompt: str) -> Iterator[str]:
    """The neighbours of the first spec in the table of the digest that the digest does not name."""
    rows = [line.split("|") for line in prompt.splitlines() if line.startswith("| ")]
    best = UNetSpec.parse(rows[1][2].strip())
    for row in neighbours(SPACE, best):
        text = str(UNetSpec.from_row(row))
        if f"{text} " not in prompt.split("One step from the best")[0]:
            yield text


def played(folder: Path, model: Careful, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens that each round read."""
    monkeypatch.setattr("agent.backends.registry.OfflineModel", lambda **_: model)
    search = TinySearch(folder, {"rounds": ROUNDS, "budget": "6M", "searcher": "llm", "llm": "offline"})
    assert search.run() == "rounds"
    found, read = [], iter(model.read)
    for calls in model.calls_of_rounds:
        found.append(sum(next(read) for _ in range(calls)))
    return found


def test_a_careful_model_takes_two_calls_and_six_thousand_tokens_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Careful()
    tokens = played(tmp_path, model, monkeypatch)
    assert model.calls_of_rounds == [2] * ROUNDS
    assert max(tokens) <= 6_000


def test_one_that_asks_twice_before_stays_under_twelve_thousand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Careful(asks_first=True)
    tokens = played(tmp_path, model, monkeypatch)
    assert model.calls_of_rounds == [4] * ROUNDS
    assert max(tokens) < 12_000
