"""All that was recorded of a search, as its replay goes through it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from agent.config.settings import RunConfig
from agent.config.stored import stored_config
from diffusion.settings import Protocol
from memory.forks import fork_of
from memory.journal import inserted_at
from memory.searches import SearchRow, find_protocol
from prompts.origin import origin_of


@dataclass(frozen=True)
class Prompt:
    """A message that a template made, where it was recorded first."""

    call: int
    round: int | None
    template: str
    sha: str
    moment: int | None
    values: dict[str, Any] | None
    text: str
    seen: dict[str, Any]  # at the moment, and not in the memory


@dataclass(frozen=True)
class ModelCall:
    """One exchange with a model; messages as LangChain writes them."""

    id: int
    round: int | None
    purpose: str
    model: str
    error: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    request: dict[str, Any]
    response: dict[str, Any] | None
    extra: dict[str, Any] | None


@dataclass(frozen=True)
class Proposal:
    """What was proposed, and what the gates said."""

    id: int
    round: int
    proposer: str
    spec: str | None
    accepted: int
    refusal_kind: str  # empty where it was accepted, as is the refusal
    refusal: str


@dataclass(frozen=True)
class Recorded:
    """All that was recorded of a search."""

    search: SearchRow
    config: RunConfig
    protocol: Protocol
    calls: list[ModelCall]
    proposals: list[Proposal]
    proposed_at: dict[int, int]  # moments, by proposal


def recorded_of(db: Database, search: SearchRow) -> Recorded:
    """What was recorded of a search; proposals of the rounds alone that it shares with none that it was forked from."""
    fork = fork_of(db, search.id)
    calls = db.conn.execute(
        "SELECT id, round, purpose, model, error, input_tokens, output_tokens, cost_usd, request_json, response_json,"
        " extra_json FROM model_calls WHERE search = ? ORDER BY id",
        [search.id],
    )
    proposals = db.conn.execute(
        "SELECT id, round, proposer, spec, accepted, coalesce(refusal_kind, ''), coalesce(refusal, '') FROM proposals"
        " WHERE search = ? AND round >= ? ORDER BY id",
        [search.id, fork.round + 1 if fork else 0],
    )
    return Recorded(
        search,
        stored_config(search.config_json),
        find_protocol(db, search.protocol),
        [ModelCall(*row[:8], *(json.loads(text or "null") for text in row[8:])) for row in calls],
        [Proposal(*row) for row in proposals],
        inserted_at(db, "proposals"),
    )


def prompts_of(calls: Iterable[ModelCall]) -> Iterator[Prompt]:
    """Every prompt of the calls once: a round's first message comes again with each further call."""
    seen = set()
    for call in calls:
        for message in call.request.get("messages", []):
            if (origin := origin_of(message)) is None:
                continue
            values = origin.get("values")
            text = message["data"]["content"]
            key = (call.round, origin["template"], origin.get("moment"), json.dumps(values), text)
            if key not in seen:
                seen.add(key)
                yield Prompt(
                    call=call.id,
                    round=call.round,
                    template=origin["template"],
                    sha=origin["sha"],
                    moment=origin.get("moment"),
                    values=values,
                    text=text,
                    seen=origin.get("seen") or {},
                )
