"""The search: round after round, each ending with one scored or failed trial, for one named reason at the end.

What has happened stands in memory alone, so a search that was killed at any instant goes on where it was: a round with
an unfinished trial is finished, a round without one is proposed again.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from agent.fallback import fallback_spec
from agent.middleware import BackendError
from diffusion.spec import UNetSpec
from memory.connection import connect
from memory.ledger import charge, totals
from memory.queries import best, search_counts
from memory.searches import renew_lease, set_state
from memory.trials import rounds_done, trial_in_round
from tools.context import SearchContext
from tools.errors import Interrupted
from tools.evaluate_fid import score_trial
from tools.train_ract import continue_training, report_started, train_candidate

FAILURES_IN_A_ROW = 3  # trials
SILENT_ROUNDS_IN_A_ROW = 3  # rounds in which the backend gave no usable answer, retries included

Reason = Literal["rounds", "finished_by_model", "failures", "backend", "space_exhausted", "interrupted"]
LIMITS: tuple[Reason, ...] = ("failures", "backend")


class Proposer(Protocol):
    """Who plays a round; see `agent.proposer.LLMProposer`."""

    def propose(self, context: SearchContext) -> None:
        """Try to bring the round's trial about."""


@dataclass
class Loop:
    """One drive of one search by one process that holds its lease."""

    search: int
    lease: str
    rounds: int
    baseline: UNetSpec
    proposer: Proposer
    proposer_name: str
    make_context: Callable[[int, str], SearchContext]  # (round, proposer) → context
    report: Callable[..., None]
    silent_rounds: int = 0
    failed_trials: int = 0  # in a row, in this drive: a resume may try again

    def run(self) -> Reason:
        """Play the rounds that are left; why it ended."""
        try:
            while (reason := self._ended()) is None:
                self._round()
        except Interrupted:
            reason = "interrupted"
        except SpaceExhausted:
            reason = "space_exhausted"
        self._finish(reason)
        return reason

    def _ended(self) -> Reason | None:
        context = self.make_context(0, self.proposer_name)
        with closing(connect(context.db_path)) as db:
            renew_lease(db, self.search, self.lease)
            done = rounds_done(db, self.search)
        if self.failed_trials >= FAILURES_IN_A_ROW:
            return "failures"
        if done >= self.rounds:
            return "rounds"
        if self.silent_rounds >= SILENT_ROUNDS_IN_A_ROW:
            return "backend"
        return "finished_by_model" if context.finish_reasons else None

    def _round(self) -> None:
        """One round, from wherever it stands."""
        with closing(connect(self.make_context(0, "").db_path)) as db:
            number = rounds_done(db, self.search) + 1
        context = self.make_context(number, self.proposer_name if number else "baseline")
        started = time.monotonic()
        self.report("round.started", round=number)
        try:
            self._play(context)
        finally:
            with closing(connect(context.db_path)) as db:
                charge(db, self.search, "wall", wall_seconds=time.monotonic() - started, note=f"round {number}")
        if not context.finish_reasons or _trial(context) is not None:
            self.report("round.finished", round=number)

    def _play(self, context: SearchContext) -> None:
        trial = _trial(context)
        if trial is not None:
            report_started(context, trial)  # an earlier process was stopped in the middle of it
        if trial is None and context.round_number == 0:
            trial = train_candidate(context, self.baseline, "The baseline: the data set's default spec.").trial
        if trial is None:
            trial = self._proposed(context)
        if trial is None:
            return
        trained = continue_training(context, trial).status != "failed"
        scored = trained and score_trial(context, trial).rfid is not None
        self.failed_trials = 0 if scored else self.failed_trials + 1

    def _proposed(self, context: SearchContext) -> int | None:
        """The trial that the proposer brought about, or the fallback's; None when the search is to end here."""
        try:
            self.proposer.propose(context)
            self.silent_rounds = 0
            why = "the model gave no valid proposal"
        except BackendError as error:
            if error.refused:
                raise
            self.silent_rounds += 1
            why = f"the backend gave no answer ({error})"
        trial = _trial(context)
        if trial is not None or context.finish_reasons:
            return trial
        return self._fall_back(context, why)

    def _fall_back(self, context: SearchContext, why: str) -> int:
        found = fallback_spec(context)
        if found is None:
            raise SpaceExhausted
        spec, reason = found
        self.report("fallback", round=context.round_number, reason=why)
        return train_candidate(
            self.make_context(context.round_number, "fallback"), spec, f"{reason} Because {why}."
        ).trial

    def _finish(self, reason: Reason) -> None:
        context = self.make_context(0, self.proposer_name)
        state: Literal["interrupted", "finished"] = "interrupted" if reason in ("interrupted", *LIMITS) else "finished"
        said = context.finish_reasons[0] if reason == "finished_by_model" else None
        with closing(connect(context.db_path)) as db:
            set_state(db, self.search, state, f"{reason}: {said}" if said else reason)
        self.report("search.finished", **closing_summary(context, reason))


class SpaceExhausted(Exception):  # the end of a search, not an error
    """Every spec that fits the budget has been tried."""


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
            "trials": counts["scored"] + counts["failed"],
            "refused": counts["refused"],
            "failed": counts["failed"],
            "ledger": totals(db, context.search).model_dump(),
        }


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("trial", "spec", "rfid", "metric", "macs", "params")}


def _trial(context: SearchContext) -> int | None:
    with closing(connect(context.db_path)) as db:
        found = trial_in_round(db, context.search, context.round_number)
    return found.id if found else None
