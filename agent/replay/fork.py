"""``fork``: a copy of a search up to a round, which goes on with another language model. Nothing is trained here."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from agent.backends.allowance import check_prices
from agent.backends.registry import check_backends
from agent.config.kinds import FORKED, KINDS
from agent.config.stored import stored_config
from agent.report.results import Result
from agent.report.tables import say
from diffusion.errors import UserError, command
from memory.connection import check_existing_memory, opened
from memory.forks import fork_search, free_fork_name
from memory.searches import SearchRow, find_search
from tools.gates.directive_kinds import LASTING


class Parent(Result):
    """What was copied."""

    search: int
    name: str
    round: int


class Forked(Result):
    """``fork --json``."""

    search: int
    """number of the copy"""
    name: str
    """its name"""
    forked_from: Parent
    """`search`, `name` and the last shared `round`"""
    llm: str
    """the backend that goes on"""
    resume: str
    """the command that goes on"""


def fork(
    path: Path, name: str | None, at: int, *, llm: str, base_url: str | None = None, new_name: str | None = None
) -> Forked:
    """Copy a search up to a round.

    Raises:
        UserError: no such search or backend, a round that is not over, a name that is taken.
    """
    check_existing_memory(path)
    with opened(path) as db:
        parent = find_search(db, name, FORKED)
        check_searched(parent)
        chosen = new_name or free_fork_name(db, parent.name, at)
        config = _config(parent, {"llm": llm, "base_url": base_url, "name": chosen})
        search = fork_search(db, parent, at, name=chosen, backend=llm, config=config, lasting=LASTING)
    return Forked(
        search=search,
        name=chosen,
        forked_from=Parent(search=parent.id, name=parent.name, round=at),
        llm=llm,
        resume=command("resume", chosen, db=path),
    )


def check_searched(found: SearchRow) -> None:
    """Whether a language model proposed the rounds of a search.

    Raises:
        UserError: it did not.
    """
    if not KINDS[found.kind].forks:
        raise UserError(f"'{found.name}' is a {found.kind}, not a search of `diffnas-agent run`; name one of those")


def _config(parent: SearchRow, changes: dict[str, Any]) -> dict[str, Any]:
    config = stored_config(parent.config_json, changes)
    check_backends(config)
    check_prices(config)
    return {**json.loads(parent.config_json), **changes}


def print_fork(console: Console, found: Forked) -> None:
    """What was made, and how it goes on."""
    parent = found.forked_from
    say(console, f"{found.name} begins with {parent.name} up to round {parent.round}; {found.llm} proposes.")
    say(console, f"Go on with: {found.resume}", whole=True)
