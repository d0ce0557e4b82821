"""Why a search ends, and the event that says so."""

from collections.abc import Callable
from contextlib import closing
from typing import Any, Literal

from memory.connection import connect
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


RACED: tuple[Reason, ...] = ("rounds", "finished_by_model", "space_exhausted")  # the search itself is over


LIMITS: tuple[Reason, ...] = ("failures", "backend", "allowance")


def _weight(reason: Reason | None) -> int:
    """Of two reasons the weightier one is said: what the user did or set, before what the search came to."""
    return ("allowance", "interrupted").index(reason) + 2 if reason in ("allowance", "interrupted") else bool(reason)


def _in_time(work: Callable[[], None]) -> Reason | None:
    """Do work that trains; why it was cut short, if it was."""
    try:
        work()
    except Interrupted:
        return "interrupted"
    except AllowanceSpent:
        return "allowance"
    return None


def closing_summary(context: SearchContext, reason: str) -> dict[str, Any]:
    """The values of ``search.finished`` (CONTRACT.md)."""
    with closing(connect(context.db_path)) as db:
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
