"""Why a search ends, and the event that says so."""

from collections.abc import Callable
from typing import Literal, TypeVar

from agent.report.results import Result, ShortTrial
from memory.ledger import Ledger, totals
from memory.queries.progress import search_counts
from memory.queries.records import best
from memory.replicas import seed_scores
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


class SearchFinished(Result):
    """The event ``search.finished`` (CONTRACT.md)."""

    reason: str
    """`rounds`, `finished_by_model`, `stopped_by_user`, `space_exhausted`, `failures`, `backend`, `allowance` or
    `interrupted`"""
    best: ShortTrial | None
    """`trial`, `spec`, `rfid`, `metric`, `macs` and `params` of the best trial, or `null`"""
    baseline: ShortTrial | None
    """the same of the baseline, or `null`"""
    baseline_seeds: list[float | None]
    """scores of the baseline by its training seeds, `null` of one that failed"""
    rounds: int
    """rounds done, the baseline's not counted"""
    trials: int
    """trials that were scored, failed or pruned"""
    refused: int
    """proposals that were refused"""
    failed: int
    """trials that failed"""
    pruned: int
    """trials that were stopped early"""
    ledger: Ledger
    """what the search has used so far, earlier processes included; see [ledger](#ledger)"""


def closing_summary(context: SearchContext, reason: str) -> SearchFinished:
    """What a search came to."""
    db = context.db
    ranking = best(db, context.search, limit=None)
    baseline = next((row for row in ranking if row["round"] == 0), None)
    counts = search_counts(db, context.search)
    return SearchFinished(
        reason=reason,
        best=ShortTrial.of(ranking[0]) if ranking else None,
        baseline=ShortTrial.of(baseline) if baseline else None,
        baseline_seeds=seed_scores(db, context.search).get(baseline["spec"], []) if baseline else [],
        rounds=max(rounds_done(db, context.search), 0),
        trials=counts["scored"] + counts["failed"] + counts["pruned"],
        refused=counts["refused"],
        failed=counts["failed"],
        pruned=counts["pruned"],
        ledger=totals(db, context.search),
    )
