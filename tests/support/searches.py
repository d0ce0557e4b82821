"""A tiny search for tests: b4…b8 networks on 8×8 digits; nothing is computed where a test asks for no real executor."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pretended

from agent.config.sources import resolve
from agent.search.drive import make_loop
from agent.search.ending import Reason
from agent.search.plan import Plan, open_search, plan
from agent.search.session import Session
from agent.search.wiring import context_maker
from memory.connection import opened
from memory.leases import release_lease, take_lease
from tools.context import SearchContext
from tools.executors.machine import Machine, this_machine

TINY = {
    "preset": "digits",
    "baseline": "b8-n1-m1.1.1.1-a0000",
    "budget": "2M",
    "train_steps": 2,
    "batch_size": 8,
    "num_images": 16,
    "sampling_steps": 2,
    "rounds": 3,
    "replicas": 1,
    "race_trainings": 0,
    "llm_retry_seconds": 0.01,
}


@dataclass
class TinySearch:
    """One search, its executor and every event it reported."""

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    executor: Any = field(default_factory=pretended.PretendedExecutor)
    stop: Event = field(default_factory=Event)
    search: int = 0
    machine: Machine = field(default_factory=this_machine)

    def __post_init__(self) -> None:
        given = {**TINY, "db": self.folder / "diffnas.db", "out": self.folder / "runs", **self.options}
        self.plan: Plan = plan(resolve(given).config)
        with opened(self.plan.config.places.db) as db:
            self.search = open_search(db, self.plan)
        self.make_context = context_maker(self.search, self.plan, self.executor, self.stop, self.report)

    @property
    def db(self) -> Path:
        return self.plan.config.places.db

    def report(self, event: str, **values: Any) -> None:
        self.events.append({"event": event, **values})

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of one name."""
        return [found for found in self.events if found["event"] == event]

    def context(self, round_number: int = 1, proposer: str = "test") -> SearchContext:
        return self.make_context(round_number, proposer)

    def run(self) -> Reason:
        """Play the search to its end, or to where it is interrupted."""
        with self.session() as session:
            return make_loop(session).run()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """The search as this process drives it, without a terminal."""
        with opened(self.db) as db:
            lease = take_lease(db, self.search)
        try:
            yield Session(self.search, self.plan, lease, self.make_context, self.report, self.machine, self.stop)
        finally:
            with opened(self.db) as db:
                release_lease(db, self.search, lease)

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of the memory."""
        with opened(self.db, read_only=True) as db:
            return [dict(row) for row in db.conn.execute(statement, values)]
