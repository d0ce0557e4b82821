"""Which trial a search recommends, for who wants its model and knows its name alone."""

from pathlib import Path

from sqlite_utils import Database

from agent.config.kinds import CONFIRM, FORKED
from agent.search.raced import Raced, raced
from agent.trials.confirmed import confirmed
from diffusion.errors import UserError, command
from memory.connection import database_path
from memory.queries.records import best
from memory.searches import SearchRow, find_search


def recommended(db: Database, name: str) -> Raced:
    """The trial that the search of a name recommends, and why.

    Raises:
        UserError: there is no such search, or it recommends none.
    """
    row = find_search(db, name)
    ranking = best(db, row.id, limit=None)
    if not ranking:
        raise UserError(f"'{row.name}' has no scored trial yet; `{_again(db, row)}` goes on")
    if row.kind == CONFIRM.name:
        found = confirmed(db, row.id)
        trials = {each.spec: each.trial for each in found.rows}
        if found.recommended is not None:
            return Raced(trials[found.recommended], f"{found.recommended}: {found.why}")
    if row.kind in FORKED and (found_by_race := raced(db, row)):
        return found_by_race
    if row.kind in FORKED or len(ranking) == 1:
        first = ranking[0]
        return Raced(first["trial"], f"{first['spec']}, by its first score alone: no race has confirmed it")
    shown = command("memory", "pareto", row.name, db=Path(database_path(db)))
    raise UserError(f"'{row.name}' recommends no trial of its {len(ranking)}; name one that `{shown}` lists")


def _again(db: Database, row: SearchRow) -> str:
    return command("resume", row.name, db=Path(database_path(db)))
