"""Who runs the jobs of a search, and what its tools are given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event

from agent.backends.allowance import allowance_of
from agent.config.bench import machine_of, table_of
from agent.config.settings import RunConfig
from agent.report.events import Report
from agent.search.plan import Plan, jobs_of
from diffusion.statistics.pruning import DEFAULT
from memory.connection import Memory
from tools.context import Approve, Jobs, SearchContext, SearchLimits, Services
from tools.executors.base import Executor
from tools.executors.local import LocalExecutor
from tools.executors.machine import Machine, Share
from tools.executors.tabular import TabularExecutor
from tools.jobs.limited import WithinAllowance


@contextmanager
def executor_of(config: RunConfig, stop: Event) -> Iterator[tuple[Executor, Machine]]:
    """Who runs the jobs, and where.

    Raises:
        UserError: a job finds no room, no cluster answers, or a table is damaged.
    """
    if table := table_of(config):
        yield TabularExecutor(table, config.search.seed, stop), machine_of(config)
        return
    if config.jobs.executor == "local":
        yield LocalExecutor(stop), machine_of(config)
        return
    from tools.executors.ray_cluster import RayExecutor, ray_cluster

    with ray_cluster(config.jobs.ray_address) as machine:
        yield RayExecutor(stop, machine, jobs_of(config, machine)), machine


def context_maker(
    search: int,
    planned: Plan,
    executor: Executor,
    stop: Event,
    report: Report,
    jobs: Share | None = None,
    approve: Approve | None = None,
    memory: Memory | None = None,
) -> Callable[[int, str], SearchContext]:
    """What makes the context of a round for a proposer; without `jobs` they share this machine.

    Without a `memory` that is open one is opened, for as long as there are contexts.
    """
    config, share = planned.config, jobs or jobs_of(planned.config, machine_of(planned.config))
    memory = memory or Memory(config.places.db.absolute())
    allowance = allowance_of(search, config, memory)
    services = Services(
        memory=memory,
        executor=WithinAllowance(executor, allowance, stop),
        report=report,
        allowance=allowance,
        approve=approve,
        stop=stop,
    )
    asked = config.search
    limits = SearchLimits(config.search_space, asked.budget, asked.count, planned.protocol, asked.memory)
    how = _jobs(config, share)

    def make_context(round_number: int, proposer: str) -> SearchContext:
        each = replace(how, is_alone=round_number == 0 or share.parallel == 1)
        return SearchContext(search, round_number, proposer, limits, each, services)

    return make_context


def _jobs(config: RunConfig, share: Share) -> Jobs:
    """How jobs run, by the settings."""
    return Jobs(
        out=config.places.out,
        seed=config.search.seed,
        settings=config.jobs,
        share=share,
        feature_weights=config.score.feature_weights,
        prune=DEFAULT if config.search.prune else None,
        table=table_of(config),
    )
