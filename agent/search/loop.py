"""The search: round after round, each ending with one scored or failed trial, for one named reason at the end.

What has happened stands in memory alone, so a search that was killed at any instant goes on where it was: a round with
an unfinished trial is finished, a round without one is proposed again.

Several rounds may be in flight, each in a thread of its own. They are proposed one after the other: a round begins when
the one before it has its accepted trial or is over, so that no two of them ask for the same spec. The baseline is
always alone. Before each round the directives of the user are looked at (`agent.search.listener`).
"""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from threading import Event, Lock
from typing import Literal

from agent.backends.errors import BackendError
from agent.report.events import watched
from agent.search.directives import Due, end_search
from agent.search.ending import (
    FAILURES_IN_A_ROW,
    LIMITS,
    RACED,
    SILENT_ROUNDS_IN_A_ROW,
    Reason,
    _in_time,
    _weight,
    closing_summary,
)
from agent.search.listener import Listener
from agent.searchers.base import MakeProposer, Proposer
from agent.searchers.fallback import fallback_spec
from diffusion.spec import UNetSpec
from memory.connection import connect
from memory.directives import DirectiveRow
from memory.leases import renew_lease
from memory.ledger import charge
from memory.trials import rounds_done, rounds_over, trial_in_round
from tools.context import SearchContext
from tools.errors import AllowanceSpent, Interrupted, Refused
from tools.jobs.race import run_race
from tools.jobs.replicate import replicate
from tools.jobs.scoring import score_trial
from tools.jobs.training import continue_training, report_started, train_candidate

FALLBACKS_IN_A_ROUND = 10  # after as many refusals, by a person or a directive of this moment, nothing is left to try

InFlight = dict[Future[None], int]  # the rounds that are being played, by their futures


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
    parallel: int = 1  # rounds at once
    replicas: int = 1  # training seeds of the baseline, to know what is noise
    race_trainings: int = 0  # at the end, for the best and the baseline
    make_proposer: MakeProposer | None = None  # for a backend that the user asks for
    is_noise_known: bool = False  # in this drive: the replicas were seen through
    silent_rounds: int = 0
    failed_trials: int = 0  # in a row, in this drive: a resume may try again
    charged_until: float = 0.0  # the wall-clock that is in the ledger already, by the monotonic clock
    lock: Lock = field(default_factory=Lock)  # of the three above
    listener: Listener = field(init=False)

    def __post_init__(self) -> None:
        self.listener = Listener(self.make_context(0, self.proposer_name), self.make_proposer)

    def run(self) -> Reason:
        """Play the rounds that are left; why it ended."""
        in_flight: InFlight = {}
        with ThreadPoolExecutor(self.parallel, "round") as pool:
            try:
                reason = self._play_all(pool, in_flight)
            except BaseException:
                if in_flight:
                    self.make_context(0, self.proposer_name).stop.set()  # what else is trained is saved
                raise
        if reason in RACED and self.race_trainings:
            reason = _in_time(self._race) or reason
        if reason == "interrupted" and self._is_spent():
            reason = "allowance"  # it stopped the rounds beside the one that met the limit
        self._finish(reason)
        return reason

    def _is_spent(self) -> bool:
        allowance = self.make_context(0, self.proposer_name).allowance
        return allowance is not None and allowance.why is not None

    def _play_all(self, pool: ThreadPoolExecutor, in_flight: InFlight) -> Reason:
        """Begin rounds until there is a reason to end, and see those through that are in flight then."""
        reason: Reason | None = None
        while True:
            number = None
            if not in_flight and not self.is_noise_known and self._is_baseline_over():
                reason = max(reason, _in_time(self._replicate), key=_weight)
            due = Due()
            if len(in_flight) < self.parallel:
                due = self._due(in_flight)
                ended = reason or self._ended(due)
                if ended and not in_flight:
                    return ended
                number = None if ended or due.pause else self._next(in_flight)
            if number is not None:
                in_flight[self._begun(pool, number, due.try_next)] = number
            elif in_flight:
                wait(in_flight, return_when=FIRST_COMPLETED)
            elif due.pause:
                reason = self._paused(due.pause)
            found = _collected(in_flight)
            reason = max(reason, found, key=_weight)

    def _due(self, in_flight: InFlight) -> Due:
        """What the user wants before the next round; what changes the search itself is changed."""
        number = self._next(in_flight)
        due, proposer = self.listener.look(self._following(in_flight) if number is None else number, number is not None)
        if proposer is not None and due.backend:
            self.proposer, self.proposer_name = proposer, due.backend.arguments["llm"]
            self.proposer.rounds = self.rounds
            self._heard(silent=False)
        if due.rounds is None:
            return due
        self.rounds = self.proposer.rounds = due.rounds
        return self._due(in_flight)

    def _following(self, in_flight: InFlight) -> int:
        """The round after all that were begun."""
        with closing(connect(self.make_context(0, "").db_path)) as db:
            return max(rounds_over(db, self.search) | set(in_flight.values()), default=-1) + 1

    def _paused(self, pause: DirectiveRow) -> Reason | None:
        """Wait until the user lifts a pause."""
        goes_on = self.listener.wait(pause, self._next({}) or 0, lambda: self._due({}))
        return None if goes_on else "interrupted"

    def _is_baseline_over(self) -> bool:
        with closing(connect(self.make_context(0, "").db_path)) as db:
            return 0 in rounds_over(db, self.search)

    def _replicate(self) -> None:
        """Train the baseline with further seeds, as many at once as rounds: the noise floor of the search."""
        self.is_noise_known = True
        context = self.make_context(0, "baseline")
        with closing(connect(context.db_path)) as db:
            baseline = trial_in_round(db, self.search, 0)
        if baseline is None or baseline.state != "scored":
            return
        started = time.monotonic()
        seeds = [context.seed + number for number in range(1, self.replicas)]
        try:
            with ThreadPoolExecutor(self.parallel, "replica") as pool:
                for future in [pool.submit(replicate, context, baseline, seed) for seed in seeds]:
                    future.result()
        finally:
            self._charge(context, started)

    def _race(self) -> None:
        """Re-measure the best with more seeds before one is called best."""
        context = self.make_context(0, "race")
        started = time.monotonic()
        try:
            run_race(context, replicas=self.replicas, allowance=self.race_trainings, parallel=self.parallel)
        finally:
            self._charge(context, started)

    def _ended(self, due: Due) -> Reason | None:
        context = self.make_context(0, self.proposer_name)
        with closing(connect(context.db_path)) as db:
            renew_lease(db, self.search, self.lease)
        if due.stop:
            return "stopped_by_user"
        if self.failed_trials >= FAILURES_IN_A_ROW:
            return "failures"
        if not self._left():
            return "rounds"
        if self.silent_rounds >= SILENT_ROUNDS_IN_A_ROW:
            return "backend"
        return "finished_by_model" if context.finish_reasons else None

    def _left(self) -> list[int]:
        """The rounds that are not over; those with a trial come first, since rounds are proposed in their order."""
        with closing(connect(self.make_context(0, "").db_path)) as db:
            over = rounds_over(db, self.search)
        return [number for number in range(self.rounds + 1) if number not in over]

    def _next(self, in_flight: InFlight) -> int | None:
        """The round to begin, if one may begin now."""
        waiting = [number for number in self._left() if number not in in_flight.values()]
        return None if not waiting or 0 in in_flight.values() else waiting[0]

    def _begun(self, pool: ThreadPoolExecutor, number: int, try_next: DirectiveRow | None) -> Future[None]:
        """A round that has its accepted trial, or is over already."""
        accepted = Event()
        future = pool.submit(self._round, number, accepted, try_next)
        future.add_done_callback(lambda _: accepted.set())
        accepted.wait()
        return future

    def _round(self, number: int, accepted: Event, try_next: DirectiveRow | None) -> None:
        """One round, from wherever it stands."""
        context = self.make_context(number, self.proposer_name if number else "baseline")
        context = replace(context, report=watched(context.report, "trial.started", accepted.set))
        started = time.monotonic()
        self.report("round.started", round=number)
        try:
            self._play(context, try_next)
        finally:
            self._charge(context, started)
        if not context.finish_reasons or _trial(context) is not None:
            self.report("round.finished", round=number)

    def _charge(self, context: SearchContext, started: float) -> None:
        """Write the wall-clock down; what several rounds shared counts once."""
        with self.lock:
            now = time.monotonic()
            seconds, self.charged_until = now - max(started, self.charged_until), now
        with closing(connect(context.db_path)) as db:
            charge(db, self.search, "wall", wall_seconds=seconds, note=f"round {context.round_number}")

    def _play(self, context: SearchContext, try_next: DirectiveRow | None) -> None:
        trial = _trial(context)
        if trial is not None:
            report_started(context, trial)  # an earlier process was stopped in the middle of it
        if trial is None and context.round_number == 0:
            trial = train_candidate(context, self.baseline, "The baseline: the data set's default spec.").trial
        if trial is None and try_next is not None:
            trial = self.listener.try_spec(context, try_next)
        if trial is None:
            trial = self._proposed(context)
        if trial is None:
            return
        status = continue_training(context, trial).status
        scored = status in ("trained", "cached") and score_trial(context, trial).rfid is not None
        with self.lock:
            self.failed_trials = 0 if scored or status == "pruned" else self.failed_trials + 1

    def _proposed(self, context: SearchContext) -> int | None:
        """The trial that the proposer brought about, or the fallback's; None when the search is to end here."""
        try:
            self.proposer.propose(context)
            self._heard(silent=False)
            why = "the model gave no valid proposal"
        except BackendError as error:
            if error.refused:
                raise
            self._heard(silent=True)
            why = f"the backend gave no answer ({error})"
        trial = _trial(context)
        if trial is not None or context.finish_reasons:
            return trial
        return self._fall_back(context, why)

    def _heard(self, silent: bool) -> None:
        with self.lock:
            self.silent_rounds = self.silent_rounds + 1 if silent else 0

    def _fall_back(self, context: SearchContext, why: str) -> int:
        for number in range(FALLBACKS_IN_A_ROUND):
            found = fallback_spec(context)
            if found is None:
                break
            if not number:
                self.report("fallback", round=context.round_number, reason=why)
            spec, reason = found
            with suppress(Refused):  # by a person, or by a directive of this moment; it is not chosen again
                return train_candidate(replace(context, proposer="fallback"), spec, f"{reason} Because {why}.").trial
        raise SpaceExhausted

    def _finish(self, reason: Reason) -> None:
        context = self.make_context(0, self.proposer_name)
        state: Literal["interrupted", "finished"] = "interrupted" if reason in ("interrupted", *LIMITS) else "finished"
        said = context.finish_reasons[0] if reason == "finished_by_model" else None
        with closing(connect(context.db_path)) as db:
            round_number = max(rounds_done(db, self.search), 0)
            stops = end_search(db, self.search, round_number, state, f"{reason}: {said}" if said else reason)
        for stop in stops:
            self.listener.obeyed(stop, round_number, "the search ended")
        self.report("search.finished", **closing_summary(context, reason))


class SpaceExhausted(Exception):  # the end of a search, not an error
    """Every spec that fits the budget has been tried."""


def _collected(in_flight: InFlight) -> Reason | None:
    """Take out the rounds that are over; why one of them ends the search. What else it raised is raised here."""
    reason: Reason | None = None
    for future in [future for future in in_flight if future.done()]:
        del in_flight[future]
        error = future.exception()
        if isinstance(error, Interrupted):
            reason = max(reason, "interrupted", key=_weight)
        elif isinstance(error, AllowanceSpent):
            reason = max(reason, "allowance", key=_weight)
        elif isinstance(error, SpaceExhausted):
            reason = reason or "space_exhausted"
        elif error is not None:
            raise error
    return reason


def _trial(context: SearchContext) -> int | None:
    with closing(connect(context.db_path)) as db:
        found = trial_in_round(db, context.search, context.round_number)
    return found.id if found else None
