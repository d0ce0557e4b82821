"""A tiny search for a training strategy: real data and memory, a scripted measurement, nothing trained."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

from strategy_rows import make_tables

from agent.config.sources import resolve
from agent.search.ending import Reason
from agent.search.plan import Plan
from agent.search.session import Session
from agent.search.wiring import context_maker
from agent.strategy.loop import Measure, StrategyLoop
from agent.strategy.plan import planned_strategy_search, stored_limits, strategy_context
from agent.strategy.proposer import make_proposer
from diffusion.settings import Strategy
from memory.connection import opened
from memory.leases import release_lease, take_lease
from memory.strategies import Measured, StoredStrategy, strategies_of
from tools.executors.machine import this_machine
from tools.propose_strategy import StrategyContext

SETTINGS = {
    "preset": "digits",
    "baseline": "b8-n1-m1.1.1.1-a0000",
    "budget": "2M",
    "num_images": 16,
    "sampling_steps": 2,
    "llm_retry_seconds": 0.01,
    "learning_rate": 1e-3,
    "dropout": 0.3,
    "diffusion_steps": 1000,
    "batch_size": 8,
    "warmup_steps": 10,
    "train_steps": 100,
    "rounds": 1,
}


def tau_of(value: Callable[[Strategy], float]) -> Measure:
    """A measurement that makes τ a function of the strategy."""

    def measure(strategy: Strategy) -> Measured:
        tau = value(strategy)
        return Measured(tau, max(-1.0, tau - 0.2), min(1.0, tau + 0.2), float(strategy.train_steps), 10)

    return measure


@dataclass
class TinyStrategySearch:
    """One search and every event it reported."""

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    cost: str = "0.5"
    measure: Measure | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    stop: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        given = {**SETTINGS, "db": self.folder / "diffnas.db", "out": self.folder / "runs", **self.options}
        config = resolve(given).config
        with opened(config.places.db) as db:
            make_tables(db)
        self.search, self.plan = planned_strategy_search(config, self.cost)

    @property
    def db(self) -> Path:
        return self.plan.config.places.db

    def report(self, event: str, **values: Any) -> None:
        self.events.append({"event": event, **values})

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of one name."""
        return [found for found in self.events if found["event"] == event]

    def context(self, round_number: int = 1, proposer: str = "test", **changes: Any) -> StrategyContext:
        with opened(self.db) as db:
            limits = stored_limits(db, self.plan, self.search)
        nobody: Any = None  # a strategy is proposed without a job
        made = context_maker(self.search, self.plan, nobody, self.stop, self.report)(round_number, proposer)
        return replace(strategy_context(made, limits), **changes)

    def run(self, plan: Plan | None = None) -> Reason:
        """Play the search to its end, or to where it is interrupted."""
        plan = plan or self.plan
        with opened(self.db) as db:
            lease = take_lease(db, self.search)
            limits = stored_limits(db, plan, self.search)
        try:
            nobody: Any = None  # a strategy is proposed without a job
            contexts = context_maker(self.search, plan, nobody, self.stop, self.report)
            session = Session(self.search, plan, lease, contexts, self.report, this_machine(), self.stop)
            return StrategyLoop(session, make_proposer(plan.config), limits, self.measure).run()
        finally:
            with opened(self.db) as db:
                release_lease(db, self.search, lease)

    def strategies(self) -> list[StoredStrategy]:
        with opened(self.db, read_only=True) as db:
            return strategies_of(db, self.search)

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of the memory."""
        with opened(self.db, read_only=True) as db:
            return [dict(row) for row in db.conn.execute(statement, values)]
