"""The search: round after round, each ending with one scored or failed trial, for one named reason at the end.

What has happened stands in memory alone, so a search that was killed at any instant goes on where it was: a round with
an unfinished trial is finished, a round without one is proposed again.

Several rounds may be in flight, each in a thread of its own. They are proposed one after the other: a round begins when
the one before it has its accepted trial or is over, so that no two of them ask for the same spec. No round runs beside
the baseline, and none begins before its replicas are over. Before each round the directives of the user are looked at
(`agent.search.listener`).
"""

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from threading import Event

from agent.report.results import plain
from agent.search.directives import Due
from agent.search.ending import (
    FAILURES_IN_A_ROW,
    RACED,
    SILENT_ROUNDS_IN_A_ROW,
    Reason,
    closing_summary,
    in_time,
    weightier,
)
from agent.search.listener import Listener
from agent.search.replicas import Replicas
from agent.search.round import Baseline, Round, Tally
from agent.search.session import Session
from agent.searchers.base import MakeProposer, Proposer
from memory.directives import DirectiveRow
from memory.trials import rounds_done, rounds_over

Flight = Future[Reason | None]  # a round that is being played: why it ends the search, if it does


class Loop:
    """The rounds of one search, as one session plays them."""

    def __init__(self, session: Session, searcher: Proposer, make_searcher: MakeProposer | None = None) -> None:
        config = session.plan.config
        self.session, self.searcher, self.searcher_name = session, searcher, config.backend.llm
        self.rounds, self.parallel = config.search.rounds, session.jobs.parallel
        self.tally, self.replicas = Tally(), Replicas(session)
        self.listener = Listener(session.make_context(0, config.backend.llm), make_searcher)
        self.in_flight: dict[Flight, int] = {}

    def run(self) -> Reason:
        """Play the rounds that are left, and the race; why it ended."""
        with ThreadPoolExecutor(self.parallel, "round") as pool:
            try:
                reason = self._played(pool)
            except BaseException:
                if self.in_flight:
                    self.session.stop.set()  # what else is trained is saved
                raise
        if reason in RACED:
            cut_short = in_time(self.replicas.race)
            reason = cut_short or reason
        if reason == "interrupted" and self.session.why_spent:
            reason = "allowance"  # it stopped the rounds beside the one that met the limit
        self._finish(reason)
        return reason

    def _played(self, pool: ThreadPoolExecutor) -> Reason:
        """Begin rounds until there is a reason to end, and see those through that are in flight then."""
        reason: Reason | None = None
        while True:
            number, due = None, Due()
            if not self.in_flight or 0 in self.in_flight.values():
                replicate = partial(self.replicas.replicate, is_baseline_under_way=bool(self.in_flight))
                reason = weightier(reason, in_time(replicate))
            if len(self.in_flight) < self.parallel:
                due = self._due()
                ended = reason or self._ended(due)
                if ended and not self.in_flight:
                    return ended
                number = None if ended or due.pause else self._next()
            if number is not None:
                self.in_flight[self._begun(pool, number, due.try_next)] = number
            elif self.in_flight:
                wait(self.in_flight, return_when=FIRST_COMPLETED)
            elif due.pause and not self.listener.wait(due.pause, self._next() or 0, self._due):
                reason = "interrupted"
            over = [flight for flight in self.in_flight if flight.done()]
            for flight in over:
                del self.in_flight[flight]
                reason = weightier(reason, flight.result())

    def _due(self) -> Due:
        """What the user wants before the next round; what changes the search itself is changed."""
        number = self._next()
        due, searcher = self.listener.look(self._following() if number is None else number, number is not None)
        if searcher is not None and due.backend:
            self.searcher, self.searcher_name = searcher, due.backend.arguments["llm"]
            self.searcher.rounds = self.rounds
            self.tally.heard(silent=False)
        if due.rounds is None:
            return due
        self.rounds = self.searcher.rounds = due.rounds
        return self._due()

    def _ended(self, due: Due) -> Reason | None:
        if not self.session.keep():
            return "interrupted"
        if due.stop:
            return "stopped_by_user"
        if self.tally.failed_trials >= FAILURES_IN_A_ROW:
            return "failures"
        if not self._left():
            return "rounds"
        if self.tally.silent_rounds >= SILENT_ROUNDS_IN_A_ROW:
            return "backend"
        return "finished_by_model" if self.session.make_context(0, "").services.finish_reasons else None

    def _over(self) -> set[int]:
        return rounds_over(self.session.db, self.session.search)

    def _following(self) -> int:
        """The round after all that were begun."""
        return max(self._over() | set(self.in_flight.values()), default=-1) + 1

    def _left(self) -> list[int]:
        """The rounds that are not over; those with a trial come first, since rounds are proposed in their order."""
        over = self._over()
        return [number for number in range(self.rounds + 1) if number not in over]

    def _next(self) -> int | None:
        """The round to begin, if one may begin now."""
        waiting = [number for number in self._left() if number not in self.in_flight.values()]
        return None if not waiting or 0 in self.in_flight.values() else waiting[0]

    def _begun(self, pool: ThreadPoolExecutor, number: int, try_next: DirectiveRow | None) -> Flight:
        """A round that has its accepted trial, or is over already."""
        accepted = Event()
        flight = pool.submit(in_time, partial(self._round, number, accepted, try_next))
        flight.add_done_callback(lambda _: accepted.set())
        accepted.wait()
        return flight

    def _round(self, number: int, accepted: Event, try_next: DirectiveRow | None) -> None:
        """One round, by the clock."""
        context = self.session.make_context(number, self.searcher_name if number else "baseline")
        context = (context if number else self.replicas.beside(context)).watched("trial.started", accepted.set)
        searcher = self.searcher if number else Baseline(self.session.plan.baseline)
        wish = partial(self.listener.try_spec, directive=try_next) if try_next else None
        context.report("round.started", round=number)
        with self.session.clock(f"round {number}"):
            has_trial = Round(context, searcher, self.tally, wish).play()
        if has_trial:
            context.report("round.finished", round=number)

    def _finish(self, reason: Reason) -> None:
        session, context = self.session, self.session.make_context(0, self.searcher_name)
        round_number = max(rounds_done(session.db, session.search), 0)
        said = context.services.finish_reasons[0] if reason == "finished_by_model" else None
        for stop in session.end(reason, said, round_number):
            self.listener.obeyed(stop, round_number, "the search ended")
        session.report("search.finished", **plain(closing_summary(context, reason)))
