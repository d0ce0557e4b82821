"""Who runs the jobs of a search, and what its tools are given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Literal

from agent.backends.allowance import allowance_of
from agent.config.settings import RunConfig
from agent.report.events import Report
from agent.search.plan import Plan, jobs_of
from diffusion.settings import Precision
from diffusion.statistics.pruning import DEFAULT
from tools.context import Approve, SearchContext
from tools.executors.base import Executor
from tools.executors.local import LocalExecutor
from tools.executors.machine import Share, this_machine
from tools.jobs.limited import WithinAllowance


@contextmanager
def executor_of(config: RunConfig, stop: Event) -> Iterator[tuple[Executor, Share]]:
    """Who runs the jobs, and what each job gets.

    Raises:
        UserError: a job finds no room, or no cluster answers.
    """
    if config.jobs.executor == "local":
        yield LocalExecutor(stop), jobs_of(config, this_machine())
        return
    from tools.executors.ray_cluster import RayExecutor, ray_cluster

    with ray_cluster(config.jobs.ray_address) as machine:
        jobs = jobs_of(config, machine)
        yield RayExecutor(stop, machine, jobs), jobs


def context_maker(
    search: int,
    planned: Plan,
    executor: Executor,
    stop: Event,
    report: Report,
    jobs: Share | None = None,
    approve: Approve | None = None,
) -> Callable[[int, str], SearchContext]:
    """What makes the context of a round for a proposer; without `jobs` they share this machine."""
    config, finish_reasons = planned.config, list[str]()
    each = jobs or jobs_of(config, this_machine())
    allowance = allowance_of(search, config)
    executor = WithinAllowance(executor, allowance, stop)

    def make_context(round_number: int, proposer: str) -> SearchContext:
        return SearchContext(
            db_path=config.places.db.absolute(),
            search=search,
            round_number=round_number,
            proposer=proposer,
            space=config.search_space,
            budget_macs=config.search.budget,
            convention=config.search.count,
            protocol=planned.protocol,
            seed=config.search.seed,
            out=config.places.out,
            executor=executor,
            report=report,
            checkpoint_steps=config.jobs.checkpoint_steps,
            snapshot_steps=config.jobs.snapshot_steps or (),
            feature_weights=config.score.feature_weights,
            prune=DEFAULT if config.search.prune else None,
            processes=each.processes,
            threads=each.threads,
            device=each.device,
            precision=precision_of(config, each.device),
            compile=config.jobs.compile,
            log_with=config.jobs.log_with,
            allowance=allowance,
            approve=approve,
            is_alone=round_number == 0 or each.parallel == 1,
            finish_reasons=finish_reasons,
            stop=stop,
        )

    return make_context


def precision_of(config: RunConfig, device: Literal["cpu", "cuda"]) -> Precision:
    """What trainings compute in: unless it is asked for otherwise, bf16 autocast on a GPU."""
    if config.jobs.precision != "auto":
        return config.jobs.precision
    return "bf16" if device == "cuda" else "fp32"
