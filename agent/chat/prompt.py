"""The variables of the chat prompt."""

from typing import Any

from sqlite_utils import Database

from agent.searchers.model.digest import space_values
from diffusion.spec import widths
from diffusion.units import format_size
from memory.directives import active_directives
from memory.queries import progress, records
from memory.searches import LIVE, find_search
from tools.context import SearchContext
from tools.gates.directive_kinds import described


def chat_values(db: Database, context: SearchContext, state: str | None = None) -> dict[str, Any]:
    """The variables of the chat prompt; the `state` of a past moment is given, which no journal keeps."""
    row, left = find_search(db, context.search), progress.remaining(db, context.search)[0]
    state = state or row.state
    ranking = records.best(db, context.search, limit=1)
    settings = context.limits.protocol.settings
    return {
        "search": row.name,
        "state": state,
        "rounds_done": left["rounds_done"],
        "rounds": row.rounds,
        "dataset": settings.dataset,
        "resolution": settings.resolution,
        "family": settings.family,
        "budget": format_size(row.budget_macs),
        "convention": row.count_convention,
        "metric": context.limits.protocol.score.metric,
        "backend": row.backend,
        "best": _shown(ranking[0]) if ranking else "",
        "under_way": [_under_way(db, each) for each in left["running"] if state in LIVE],
        "directives": [described(directive) for directive in active_directives(db, context.search)],
        **space_values(context),
    }


def _under_way(db: Database, row: dict[str, Any]) -> str:
    reason = records.show_trial(db, row["trial"])["reason"] or "none was given"
    return f"trial {row['trial']} of round {row['round']}, {row['spec']}, {row['doing']}; its reason: {reason}"


def _shown(row: dict[str, Any]) -> str:
    return f"trial {row['trial']}, {row['spec']}, widths {widths(row['spec'])}, {row['rfid']:.4g}"
