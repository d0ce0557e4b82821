"""Why a search ends, and the event that says so."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from memory.ledger import totals
from memory.queries.progress import search_counts
from memory.queries.records import best
from memory.trials import rounds_done
from tools.context import SearchContext
from tools.errors import AllowanceSpent, Interrupted

FAILURES_IN_A_ROW = 3  # trials
SILENT_ROUNDS_IN_A_ROW = 3  # rounds in which the backend gave no usable answer, retries included

Reason = Literal[
    "rounds", "finished_by_model", "stopped_by_user", "failures", "backend", "allowance", "space_exhausted",
    "interrupted",
]  # fmt: skip
Said = TypeVar("Said")  # what a work that trains gives, where it is not cut short

RACED: tuple[Reason, ...] = ("rounds", "finished_by_model", "space_exhausted")  # the search itself is over
LIMITS: tuple[Reason, ...] = ("failures", "backend", "allowance")
RESUMABLE: tuple[Reason, ...] = ("interrupted", *LIMITS)
FAILED = "failed"  # why a search of one training ends that gave no weights


class SpaceExhausted(Exception):  # the end of a search, not an error
    """Every spec that fits the budget has been tried."""


def in_time(work: Callable[[], Said]) -> Said | Reason:
    """Do work that trains: what it gives, or why it was cut short. What else it raises is raised here."""
    try:
        return work()
    except Interrupted:
        return "interrupted"
    except AllowanceSpent:
        return "allowance"
    except SpaceExhausted:
        return "space_exhausted"


def weightier(*reasons: Reason | None) -> Reason | None:
    """Of several reasons the one that is said: what the user did or set, before what the search came to."""
    weights = {None: 0, "allowance": 2, "interrupted": 3}
    return max(reasons, key=lambda each: weights.get(each, 1))


def closing_summary(context: SearchContext, reason: str) -> dict[str, Any]:
    """The values of ``search.finished`` (CONTRACT.md)."""
    db = context.db
    ranking = best(db, context.search, limit=None)
    counts = search_counts(db, context.search)
    return {
        "reason": reason,
        "best": _summary(ranking[0]) if ranking else None,
        "baseline": next((_summary(row) for row in ranking if row["round"] == 0), None),
        "rounds": max(rounds_done(db, context.search), 0),
        "trials": counts["scored"] + counts["failed"] + counts["pruned"],
        "refused": counts["refused"],
        "failed": counts["failed"],
        "pruned": counts["pruned"],
        "ledger": totals(db, context.search).model_dump(),
    }


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("trial", "spec", "rfid", "metric", "macs", "params")}
