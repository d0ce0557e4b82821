"""A tiny real search for tests: b4…b8 networks on 8×8 digits, a few steps, a few images, in this process."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import inprocess
from langchain_core.language_models import BaseChatModel

from agent.backends import make_model
from agent.config import resolve
from agent.loop import Loop, Reason
from agent.proposer import LLMProposer
from agent.search import Plan, open_search, plan
from memory.connection import opened
from memory.searches import release_lease, take_lease
from tools.context import SearchContext

TINY = {
    "preset": "digits",
    "baseline": "b8-n1-m1.1.1.1-a0000",
    "budget": "2M",
    "train_steps": 2,
    "batch_size": 8,
    "num_images": 16,
    "sampling_steps": 2,
    "rounds": 3,
    "llm_retry_seconds": 0.01,
}


@dataclass
class TinySearch:
    """One search, its executor and every event it reported."""

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    executor: Any = field(default_factory=inprocess.InProcessExecutor)
    stop: Event = field(default_factory=Event)
    search: int = 0
    model: BaseChatModel | None = None
    finish_reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        given = {**TINY, "db": self.folder / "diffnas.db", "out": self.folder / "runs", **self.options}
        self.plan: Plan = plan(resolve(given).config)
        with opened(self.plan.config.db) as db:
            self.search = open_search(db, self.plan)

    @property
    def db(self) -> Path:
        return self.plan.config.db

    def report(self, event: str, **values: Any) -> None:
        self.events.append({"event": event, **values})

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of one name."""
        return [found for found in self.events if found["event"] == event]

    def context(self, round_number: int = 1, proposer: str = "test") -> SearchContext:
        config = self.plan.config
        return SearchContext(
            db_path=config.db,
            search=self.search,
            round_number=round_number,
            proposer=proposer,
            space=config.search_space,
            budget_macs=config.budget,
            convention=config.count,
            protocol=self.plan.protocol,
            seed=config.seed,
            out=config.out,
            executor=self.executor,
            report=self.report,
            finish_reasons=self.finish_reasons,
            stop=self.stop,
        )

    def run(self) -> Reason:
        """Play the search to its end, or to where it is interrupted."""
        config = self.plan.config
        model = self.model or make_model(
            config.llm, base_url=config.base_url, timeout_seconds=config.llm_timeout_seconds, seed=config.seed
        )
        with opened(self.db) as db:
            lease = take_lease(db, self.search)
        loop = Loop(
            search=self.search,
            lease=lease,
            rounds=config.rounds,
            baseline=self.plan.baseline,
            proposer=LLMProposer(
                model, config.llm, config.base_url, config.rounds, config.llm_retries, config.llm_retry_seconds
            ),
            proposer_name=config.llm,
            make_context=self.context,
            report=self.report,
        )
        try:
            return loop.run()
        finally:
            with opened(self.db) as db:
                release_lease(db, self.search, lease)

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of the memory."""
        with opened(self.db, read_only=True) as db:
            return [dict(row) for row in db.conn.execute(statement, values)]


Make = Callable[..., TinySearch]
