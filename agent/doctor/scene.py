"""The scene of the doctor's exam: a small search in a folder that is thrown away, with scores that were made up.

Its prompts and the tools that only read are those of every search. Nothing is trained: the scene has no executor.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import BaseTool
from pydantic import ValidationError

from agent.backends.repair import check_arguments, what_is_wrong
from agent.config.stored import NoJobs
from agent.searchers.model.digest import round_values, system_values
from agent.searchers.model.proposer import TOOLS
from diffusion.scores.networks import score_network
from diffusion.settings import Protocol, ScoreProtocol, Settings, Strategy
from diffusion.space import built_in
from diffusion.spec import UNetSpec
from memory.connection import Memory, opened
from memory.directives import add_directive, undo_directive
from memory.scores import add_score
from memory.searches import create_search
from memory.trainings import training_finished
from memory.trials import accept_proposal, trial_scored, trial_trained
from prompts.render import render
from tools.context import Jobs, SearchContext, SearchLimits, Services
from tools.count_flops import counted_as_text
from tools.errors import Refused
from tools.query_memory import ask

BUDGET_MACS, ROUNDS, ROUND = 2_000_000, 10, 4
TRIED = {
    "b8-n1-m1.1.1.1-a0000": (284.2, "The baseline."),
    "b8-n1-m1.2.1.1-a0000": (257.9, "More width at the second stage."),
    "b8-n1-m1.2.2.2-a1000": (231.4, "Attention where the image is whole."),
    "b16-n1-m1.1.1.1-a0000": (240.3, "Twice the width everywhere."),
}
"""Spec → made-up score and reason, in the order of their rounds; the third is the best."""

BEST = UNetSpec.parse("b8-n1-m1.2.2.2-a1000")
READING = ("count_flops", "query_memory")


@dataclass(frozen=True)
class Called:
    """The first call of an answer, checked: its arguments, or what is wrong with them."""

    tool: str
    arguments: dict[str, Any]
    wrong: str | None = None

    @property
    def specs(self) -> list[UNetSpec]:
        """The specs that it names."""
        found = [self.arguments.get("spec"), *(self.arguments.get("specs") or [])]
        return [spec for spec in found if isinstance(spec, UNetSpec)]


@dataclass(frozen=True)
class Scene:
    """A search in round 4 of 10."""

    context: SearchContext
    tools: dict[str, BaseTool]

    def system(self) -> SystemMessage:
        """The system prompt of this search."""
        return SystemMessage(render("system", **system_values(self.context, ROUNDS)))

    def prompt(self, wish: str = "") -> HumanMessage:
        """The prompt of its round, and what the user asks for besides."""
        text = render("round", **round_values(self.context.db, self.context))
        return HumanMessage(f"{text}\n{wish}".strip() + "\n")

    @contextmanager
    def told(self, kind: str | None, arguments: dict[str, Any], text: str) -> Iterator[None]:
        """A directive that holds within the block."""
        if kind is None:
            yield
            return
        directive = add_directive(self.context.db, self.context.search, kind, arguments, text)
        try:
            yield
        finally:
            undo_directive(self.context.db, self.context.search, directive)

    def called(self, answer: AIMessage) -> Called | None:
        """The first call of an answer; None if it has none."""
        if answer.tool_calls:
            call = answer.tool_calls[0]
            return self._checked(call["name"], call["args"])
        if answer.invalid_tool_calls:
            return Called(str(answer.invalid_tool_calls[0]["name"]), {}, "its arguments are not JSON")
        return None

    def _checked(self, name: str, arguments: dict[str, Any]) -> Called:
        if name not in self.tools:
            return Called(name, arguments, "there is no such tool")
        try:
            checked = check_arguments(self.tools[name], arguments)
        except ValidationError as error:
            return Called(name, arguments, what_is_wrong(error))
        return Called(name, {field: getattr(checked, field) for field in type(checked).model_fields})

    def answer_to(self, call: Called) -> str:
        """What a tool that only reads answers."""
        if call.tool == "count_flops":
            return counted_as_text(self.context, call.specs)
        try:
            return json.dumps(ask(self.context, **call.arguments), default=str)
        except Refused as refusal:
            return str(refusal)


@contextmanager
def scene() -> Iterator[Scene]:
    """The exam's search, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="diffnas-doctor-") as folder:
        context = _context(Path(folder))
        _fill(context)
        yield Scene(context, {tool.name: tool for tool in TOOLS})


def _context(folder: Path) -> SearchContext:
    protocol = _protocol()
    with opened(folder / "exam.db") as db:
        search = create_search(
            db,
            name="exam",
            budget_macs=BUDGET_MACS,
            count_convention="paper",
            rounds=ROUNDS,
            seed=0,
            searcher="llm",
            backend="exam",
            protocol=protocol,
            config={},
        )
    return SearchContext(
        search=search,
        round_number=ROUND,
        proposer="exam",
        limits=SearchLimits(built_in("digits-8"), BUDGET_MACS, "paper", protocol),
        jobs=Jobs(folder, seed=0),
        services=Services(Memory(folder / "exam.db"), NoJobs(), lambda event, **values: None),
    )


def _protocol() -> Protocol:
    network = score_network("digits-cnn")
    return Protocol(
        data_fingerprint="0" * 12,
        settings=Settings(dataset="digits", resolution=8, channels=1),
        strategy=Strategy(train_steps=600),
        score=ScoreProtocol(
            feature_network=network.name,
            feature_sha256=network.sha256,
            feature_input_size=network.input_size,
            resize_filter=network.resize_filter,
            reference_count=1437,
            sampling_steps=50,
            num_images=1000,
        ),
    )


def _fill(context: SearchContext) -> None:
    """Write the trials of the rounds before."""
    metric = context.limits.protocol.score.metric
    db = context.db
    for number, (text, (value, reason)) in enumerate(TRIED.items()):
        job, cost = context.train_job(UNetSpec.parse(text)), context.limits.cost(UNetSpec.parse(text))
        costs = {"macs_paper": cost.macs.paper, "macs_total": cost.macs.total, "params": cost.params}
        who = "exam" if number else "baseline"
        accepted = accept_proposal(
            db, context.search, number, proposer=who, raw_text="", reason=reason, job=job, costs=costs
        )
        training_finished(db, accepted.training, steps_done=600, loss=0.05, device_seconds=20.0)
        trial_trained(db, accepted.trial)
        add_score(
            db, accepted.training, step=600, protocol=context.limits.protocol, sampling_seed=0, metric=metric,
            value=value, num_images=1000, device_seconds=2.0,
        )  # fmt: skip
        trial_scored(db, accepted.trial)
