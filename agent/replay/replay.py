"""``replay``: every prompt made again, every answer read and gated again, every call priced again, offline.

A copy of the memory goes back to the moment at which each prompt was made and to the one before each proposal was
written down, and today's templates, gates and tool schemas see it there. Differences that have one cause are one.
No model is asked, nothing is trained, and the memory itself is only read.
"""

import math
from pathlib import Path
from typing import Any, Literal, cast

from jinja2 import TemplateError
from langchain_core.messages import AnyMessage, messages_from_dict
from rich.console import Console

from agent.backends.pricing import price_table
from agent.backends.recorder import told_of, tool_sha
from agent.backends.structured import in_words
from agent.chat.prompt import chat_values
from agent.chat.tools import ANSWER
from agent.chat.tools import TOOLS as CHAT_TOOLS
from agent.config.kinds import FORKED
from agent.config.stored import reading_context
from agent.replay.answers import UNREADABLE, changed, objections, taken_by_round
from agent.replay.fork import check_searched
from agent.replay.record import Prompt, Proposal, Recorded, prompts_of, recorded_of
from agent.report.results import Result
from agent.report.tables import say
from agent.searchers.centaur import SuggestedProposer
from agent.searchers.model.digest import round_values, system_values
from agent.searchers.model.proposer import LLMProposer
from diffusion.spec import UNetSpec
from diffusion.under_way import each
from memory.connection import opened
from memory.journal import Past, past_of, snapshot
from memory.redaction import redact
from memory.searches import find_search
from memory.trials import UNEXPLAINED
from prompts.render import render, template_sha
from tools.context import SearchContext
from tools.gates.specs import refusal

Kind = Literal["prompt", "answer", "gate", "price", "tool"]
NOT_BY_GATES = ("rejected", UNEXPLAINED)  # refusals by a person, and for what was not said of a spec
SHOWN_CHARACTERS = 160


class Place(Result):
    """Where a difference is; what it has no number of is left out."""

    round: int | None
    call: int | None = None
    proposal: int | None = None
    recorded: str | float | None
    now: str | float | None


class Difference(Result):
    """One cause: what is checked, its name, why it differs, how often, and the first place."""

    kind: Kind
    name: str
    why: str
    count: int
    first: Place


class Replayed(Result):
    """``replay --json``."""

    search: int
    """number of the search"""
    name: str
    """its name"""
    checked: dict[str, int]
    """how many `prompts`, `answers`, `gates`, `prices` and `tools` were compared"""
    unchecked: dict[str, int]
    """how many `prompts` and `gates` were recorded without what a replay needs"""
    differences: list[Difference]
    """one for each cause: `kind` (`prompt`, `answer`, `gate`, `price`, `tool`), `name`, `why`, `count`, and the `first`
    place: `round`, `call` or `proposal`, `recorded`, `now`"""


class Replay:
    """One search, asked again; the findings are in `differences`, `checked` and `unchecked`."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self.proposer = SuggestedProposer if recorded.search.searcher == "centaur" else LLMProposer
        self.given = self.proposer.tools
        self.found: dict[tuple[str, str], Difference] = {}
        self.checked: dict[str, int] = dict.fromkeys(("prompts", "answers", "gates", "prices", "tools"), 0)
        self.unchecked = {"prompts": 0, "gates": 0}

    def differs(self, kind: Kind, name: str, why: str, **first: Any) -> None:
        """Note one difference; a further one of the same cause is counted."""
        known = self.found.get((kind, name))
        self.found[kind, name] = (
            known.model_copy(update={"count": known.count + 1})
            if known
            else Difference(kind=kind, name=name, why=why, count=1, first=Place(**first))
        )

    def run(self, past: Past) -> None:
        """Check everything, from the latest moment backwards."""
        self.prices()
        self.tools()
        self.words()
        self.answers()
        prompts = list(prompts_of(self.recorded.calls))
        steps: list[tuple[int, Prompt | Proposal]] = [(p.moment, p) for p in prompts if p.moment is not None]
        for prompt in prompts:
            if prompt.moment is None and prompt.values is not None:
                self.prompt(past, prompt)
            self.unchecked["prompts"] += prompt.moment is None and prompt.values is None
        for proposal in self.recorded.proposals:
            if proposal.spec is None:
                continue
            at = self.recorded.proposed_at.get(proposal.id)
            if at is not None:
                steps.append((at - 1, proposal))
            self.unchecked["gates"] += at is None
        for when, step in each("going back", sorted(steps, key=lambda pair: -pair[0]), len(steps)):
            past.back_to(when)
            if isinstance(step, Prompt):
                self.prompt(past, step)
            else:
                self.gate(past, step)

    def prompt(self, past: Past, prompt: Prompt) -> None:
        """Make a prompt again."""
        self.checked["prompts"] += 1
        try:
            now = redact(render(prompt.template, **self._values(past, prompt)))
            changed = template_sha(prompt.template) != prompt.sha
        except TemplateError as error:
            now, changed = f"{type(error).__name__}: {error}", True
        if now != prompt.text:
            why = "the template has changed" if changed else "the memory gives other values"
            place = first_difference(prompt.text, now)
            self.differs("prompt", prompt.template, why, round=prompt.round, call=prompt.call, **place)

    def _values(self, past: Past, prompt: Prompt) -> dict[str, Any]:
        if prompt.values is not None:
            return prompt.values
        context = self.context(past, prompt.round or 0, self.recorded.search.backend)
        if prompt.template == "chat":
            return chat_values(past.db, context, prompt.seen.get("state"))
        if prompt.template == "system":
            rounds = find_search(past.db, str(context.search)).rounds
            return system_values(context, rounds, suggests=self.proposer.suggests)
        return round_values(past.db, context)

    def gate(self, past: Past, proposal: Proposal) -> None:
        """Ask the gates about a proposal again."""
        self.checked["gates"] += 1
        assert proposal.spec is not None, "a gate was asked about it"
        context = self.context(past, proposal.round, proposal.proposer)
        objection = refusal(context, UNetSpec.parse(proposal.spec))
        now = None if objection is None else (objection.kind, redact(str(objection)))
        passed = proposal.accepted or proposal.refusal_kind in NOT_BY_GATES
        before = None if passed else (proposal.refusal_kind, proposal.refusal)
        if now != before:
            name = (before or now or ("",))[0]
            why = "it passes now" if now is None else "it passed" if before is None else "it is refused otherwise"
            place = {"recorded": before and before[1], "now": now and now[1]}
            self.differs("gate", name, why, round=proposal.round, proposal=proposal.id, **place)

    def context(self, past: Past, round_number: int, proposer: str) -> SearchContext:
        """A round of the search, in the past; it cannot compute anything."""
        known = self.recorded
        return reading_context(
            past.path, known.search, known.config, known.protocol, round_number=round_number, proposer=proposer
        )

    def prices(self) -> None:
        """Price every answered call by today's table."""
        table = price_table(self.recorded.config.backend.prices)
        for call in self.recorded.calls:
            if call.error is not None or call.input_tokens is None or call.output_tokens is None:
                continue
            self.checked["prices"] += 1
            base_url = (call.extra or {}).get("base_url")
            now = table.cost_usd(call.model, base_url, call.input_tokens, call.output_tokens)
            before = call.cost_usd
            same = now is before if now is None or before is None else math.isclose(now, before)
            if not same:
                place = {"recorded": before, "now": now}
                self.differs("price", call.model, "its price has changed", round=call.round, call=call.id, **place)

    def tools(self) -> None:
        """Compare what the model was told about each tool with what it would be told now."""
        now = {tool.name: tool_sha(told_of(tool)) for tool in self.given}
        for call in self.recorded.calls:
            before = (call.extra or {}).get("tools")
            if call.purpose != "propose" or not isinstance(before, dict):
                continue
            self.checked["tools"] += 1
            for name in sorted(before.keys() | now.keys()):
                if before.get(name) != now.get(name):
                    why = "it is new" if name not in before else "it is gone" if name not in now else "it has changed"
                    place = {"recorded": before.get(name), "now": now.get(name)}
                    self.differs("tool", name, why, round=call.round, call=call.id, **place)

    def answers(self) -> None:
        """Read every answer again that the search went on with."""
        tools = {tool.name: tool for tool in self.given}
        for number, calls in taken_by_round(self.recorded.calls, is_over=self.recorded.search.state == "finished"):
            self.checked["answers"] += len(calls)
            before = [
                (row.refusal_kind, row.refusal)
                for row in self.recorded.proposals
                if row.round == number and row.refusal_kind in UNREADABLE
            ]
            now = [objection for call in calls for objection in objections(call, tools)]
            for old, new in changed(before, now):
                name = (old or new or ("",))[0]
                why = "it is taken now" if new is None else "it was taken" if old is None else "it is refused otherwise"
                place = {"recorded": old and old[1], "now": new and new[1]}
                self.differs("answer", name, why, round=number, **place)

    def words(self) -> None:
        """Put every conversation into words again that went to a model without tool calling."""
        for call in self.recorded.calls:
            if not (sent := call.request.get("sent")):
                continue
            self.checked["prompts"] += 1
            messages = cast(list[AnyMessage], messages_from_dict(call.request["messages"]))
            tools = [*CHAT_TOOLS, ANSWER] if call.purpose == "chat" else self.given
            before = [message["data"]["content"] for message in sent]
            now = [redact(message.text) for message in in_words(messages, tools)]
            if now != before:
                place = first_difference("\n".join(before), "\n".join(now))
                why = "the words for a model without tool calling have changed"
                self.differs("prompt", "tools", why, round=call.round, call=call.id, **place)


def replay(path: Path, name: str | None = None) -> Replayed:
    """Replay a search.

    Raises:
        UserError: no such search, or none that a language model proposed for.
    """
    with opened(path, read_only=True) as db, snapshot(db):
        search = find_search(db, name, FORKED)
        check_searched(search)
        asked = Replay(recorded_of(db, search))
    with past_of(path) as past:
        asked.run(past)
    return Replayed(
        search=search.id,
        name=search.name,
        checked=asked.checked,
        unchecked=asked.unchecked,
        differences=list(asked.found.values()),
    )


def first_difference(recorded: str, now: str) -> dict[str, str | None]:
    """The first line that differs, as it was recorded and as it is now."""
    before, after = recorded.splitlines(), now.splitlines()
    for index in range(max(len(before), len(after))):
        pair = [lines[index] if index < len(lines) else None for lines in (before, after)]
        if pair[0] != pair[1]:
            return {"recorded": pair[0], "now": pair[1]}
    return {"recorded": None, "now": None}


def print_replay(console: Console, found: Replayed) -> None:
    """What was checked, then each difference with its first place."""
    checked = ", ".join(f"{count} {name}" for name, count in found.checked.items())
    say(console, f"Replayed {found.name}: {checked}.")
    for name, count in found.unchecked.items():
        if count:
            say(console, f"{count} {name} were recorded without what a replay needs, by an older version.")
    for difference in found.differences:
        first = difference.first
        say(console, f"{difference.kind} {difference.name}: {difference.why}, {difference.count} times")
        say(console, f"  first in round {first.round}, recorded: {_short(first.recorded)}")
        say(console, f"  {'now':>29}: {_short(first.now)}")
    if not found.differences:
        say(console, "No difference.")


def _short(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
