"""A search begins, or goes on: what ``diffnas-agent run`` and ``diffnas-agent resume`` do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from agent.backends.allowance import keep_limits
from agent.config.kinds import RESUMED, resumed
from agent.config.settings import ONLY_TYPED, RunConfig, is_own
from agent.config.sources import Resolved, load_provider_keys
from agent.search import limits
from agent.search.drive import drive
from agent.search.plan import Plan, open_search, plan, reopened
from agent.searchers.base import ProposerOf
from agent.searchers.own import own_proposer
from diffusion.errors import UserError, command
from memory.connection import check_existing_memory, check_memory, opened, transaction
from memory.searches import SearchRow, find_protocol, find_search


def begin(settings: Resolved, *, as_json: bool) -> int:
    """Open a search and drive it; the exit code.

    Raises:
        UserError: one sentence with the remedy.
    """
    config = settings.config
    proposer = own_proposer(config)
    check_memory(config.places.db)  # said before any work
    planned = plan(config)
    planned = replace(planned, notes=(*planned.notes, *settings.notes), proposer=proposer)
    with opened(config.places.db) as memory:
        search = open_run(memory, planned)
    return drive(search, planned, as_json=as_json)


def open_run(memory: Database, planned: Plan) -> int:
    """Write a search with its limits into memory; its number.

    Raises:
        UserError: its name is taken, or a limit leaves nothing or not the baseline.
    """
    limits.check(planned)
    with transaction(memory):
        search = open_search(memory, planned)
        limits.keep(memory, search, planned.config)
    return search


def go_on(db_path: Path, name: str | None, changes: dict[str, Any], *, as_json: bool) -> int:
    """Go on with a search of whatever kind, with `changes` of its settings; the exit code.

    Raises:
        UserError: one sentence with the remedy.
    """
    load_provider_keys()
    check_existing_memory(db_path)  # an older one is brought up to date
    with opened(db_path, read_only=True) as memory:
        found = find_search(memory, name, RESUMED)
        protocol = find_protocol(memory, found.protocol)
    drive_on = resumed(found)
    planned = reopened(found.config_json, protocol, {**changes, "db": db_path})
    planned = replace(planned, proposer=_proposer_again(found, planned.config, changes.get("searcher")))
    keep_limits(planned.config, found.id, changes)
    return drive_on(found.id, planned, as_json=as_json)


def _proposer_again(found: SearchRow, config: RunConfig, typed: str | None) -> ProposerOf | None:
    """A searcher of the user's own, typed once more; None where a built-in one goes on.

    Raises:
        UserError: what the memory names was not typed, or another kind of searcher was.
    """
    if not is_own(found.searcher):
        if typed is not None:
            raise UserError(f"--searcher '{typed}': '{found.name}' goes on with {found.searcher}; leave it out")
        return None
    if typed is None or not is_own(typed):
        again = command("resume", found.name, "--searcher", found.searcher, db=config.places.db)
        raise UserError(f"'{found.searcher}' {ONLY_TYPED}; if it is yours: `{again}`")
    return own_proposer(config)
