"""The search for a rapid training strategy under a cost limit (DiffNAS, Eq. 14): propose, then measure, round by round.

Round 0 is the standard strategy. In each later one a language model, or the local search of ``offline``, proposes a
strategy; then whatever has no accuracy yet is measured, so that the first proposal knows of no measurement, as in the
paper, and every later one of all that came before. Without a way to measure nothing is trained. How an accuracy is
measured is not decided here.
"""

from collections.abc import Callable
from dataclasses import replace
from threading import Event

from agent.backends.errors import BackendError
from agent.report.events import both
from agent.report.results import plain
from agent.report.tables import print_card
from agent.search.ending import SILENT_ROUNDS_IN_A_ROW, Reason, in_time
from agent.search.listener import Listener
from agent.search.plan import Plan
from agent.search.session import Session, driving
from agent.strategy.local_search import LocalSearch
from agent.strategy.plan import stored_limits, stored_measure, strategy_context
from agent.strategy.proposer import Proposer, in_round, make_proposer
from agent.strategy.views import StrategyLines, announce, print_strategies, strategy_summary
from diffusion.settings import Strategy
from memory.connection import opened
from memory.strategies import Measured, accept_strategy, add_measurement, measurement_failed, strategies_of
from tools.errors import Interrupted, JobFailed
from tools.gates.strategies import StrategyLimits
from tools.propose_strategy import StrategyContext

Measure = Callable[[Strategy], Measured]


def drive_strategy(search: int, planned: Plan, *, as_json: bool, measure: Measure | None = None) -> int:
    """Play the rounds, print the table; the exit code.

    `measure` says how well a strategy ranks; by default it is that of the rank study that the search was opened with.
    Without one the strategies are proposed and not measured. A measurement raises `JobFailed` where it has no result,
    and `Interrupted` where the user stops it.

    Raises:
        UserError: another process drives the search, or the backend refuses every call.
    """
    config, stop = planned.config, Event()
    with opened(config.places.db) as db:
        limits = stored_limits(db, planned, search)
        measure = measure or stored_measure(db, planned, search, as_json=as_json, stop=stop)
    with driving(search, planned, as_json=as_json, backend=config.backend.llm, stop=stop) as session:
        session.report = both(session.report, StrategyLines(session.console))
        print_card(session.console, planned.card)
        announce(session.console, planned, limits, is_measured=measure is not None)
        session.begin(config.backend.llm)
        reason = StrategyLoop(session, make_proposer(config), limits, measure).run()
        found = strategy_summary(session.db, search, limits, reason)
        session.report("strategy.finished", **plain(found))
    print_strategies(session.console, found)
    return session.leave(reason)


class StrategyLoop:
    """The rounds of one search for a strategy, as one session plays them.

    What has happened stands in memory alone: a round that has its strategy is not proposed again, a strategy that has
    its accuracy not measured again.
    """

    def __init__(
        self, session: Session, proposer: Proposer, limits: StrategyLimits, measure: Measure | None = None
    ) -> None:
        self.session, self.proposer, self.limits, self.measure = session, proposer, limits, measure
        self.rounds, self.silent_rounds = session.plan.config.search.rounds, 0

    def run(self) -> Reason:
        """Play the rounds that are left; why it ended."""
        reason = in_time(self._played)
        self.session.end(reason, round_number=self.rounds)
        return reason

    def _context(self, number: int) -> StrategyContext:
        context = self.session.make_context(number, self.session.plan.config.backend.llm)
        return strategy_context(context.reporting(self.session.report), self.limits)

    def _played(self) -> Reason:
        _keep_standard(self._context(0))
        listener, number = Listener(self._context(0), None), 1
        while self._is_to_begin(listener, number):
            self._round(number)
            number += 1
            if self.silent_rounds >= SILENT_ROUNDS_IN_A_ROW:
                return "backend"
        return "stopped_by_user" if number <= self.rounds else "rounds"

    def _is_to_begin(self, listener: Listener, number: int) -> bool:
        """Whether a round is left that the directives let begin."""
        begins, self.rounds = listener.begins(number, self.rounds)
        return begins

    def _round(self, number: int) -> None:
        """One round, from wherever it stands."""
        context = self._context(number)
        if context.services.stop.is_set():
            raise Interrupted
        context.report("round.started", round=number)
        with self.session.clock(f"round {number}"):
            if in_round(context) is None:
                self._propose(context)
            self._measure_all(context)
        self.session.keep()
        context.report("round.finished", round=number)

    def _propose(self, context: StrategyContext) -> None:
        """The strategy of the round, from the proposer or, failing that, from the local search."""
        try:
            self.proposer.propose(context)
            self.silent_rounds = 0
            why = "the model gave no valid proposal"
        except BackendError as error:
            if error.refused:
                raise
            self.silent_rounds += 1
            why = f"the backend gave no answer ({error})"
        if in_round(context) is None:
            context.report("fallback", round=context.round_number, reason=why)
            LocalSearch(context.jobs.seed).propose(replace(context, proposer="fallback"))

    def _measure_all(self, context: StrategyContext) -> None:
        """Measure what has neither an accuracy nor a reason for having none."""
        if self.measure is None:
            return
        unmeasured = [
            known for known in strategies_of(context.db, context.search) if not (known.measured or known.error)
        ]
        for known in unmeasured:
            try:
                measured = self.measure(known.strategy)
            except JobFailed as failure:
                measurement_failed(context.db, known.id, str(failure))
            else:
                add_measurement(context.db, known.id, measured)
            self._say(context, known.round)

    def _say(self, context: StrategyContext, round_number: int) -> None:
        known = in_round(replace(context, round_number=round_number))
        assert known is not None, "a strategy that was measured is in memory"
        found = known.measured
        context.report(
            "strategy.measured",
            strategy=known.id,
            tau=found and found.tau,
            ci95=None if found is None or found.low is None else [found.low, found.high],
            specs=found.n if found else 0,
            device_seconds=found.device_seconds if found else 0.0,
            error=known.error,
        )


def _keep_standard(context: StrategyContext) -> None:
    """Round 0: the strategy that costs are shares of."""
    accept_strategy(
        context.db,
        context.search,
        0,
        proposer="standard",
        raw_text="",
        reason="The standard strategy, which costs are shares of.",
        strategy=context.bounds.standard,
        cost=1.0,
    )
