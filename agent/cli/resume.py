"""``diffnas-agent resume``: go on with an interrupted search, of whatever kind."""

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import (
    Approve,
    Db,
    ExecutorName,
    Json,
    LlmFallbacks,
    LogWith,
    MaxCost,
    MaxHours,
    MaxTokens,
    Name,
    Nproc,
    Parallel,
    Prices,
    Prune,
    memory_path,
)
from diffusion.errors import UserError

if TYPE_CHECKING:
    pass


def resume(
    name: Name = None,
    llm: Annotated[str | None, typer.Option(metavar="ID", help="Go on with another backend.")] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="Go on with another server.")] = None,
    llm_fallbacks: LlmFallbacks = None,
    max_cost: MaxCost = None,
    max_hours: MaxHours = None,
    max_tokens: MaxTokens = None,
    prices: Prices = None,
    approve: Approve = None,
    rounds: Annotated[int | None, typer.Option(min=0, metavar="N", help="A new number of rounds.")] = None,
    parallel: Parallel = None,
    nproc: Nproc = None,
    executor: ExecutorName = None,
    prune: Prune = None,
    log_with: LogWith = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Go on with an interrupted search, exactly once."""
    from agent.backends.allowance import keep_limits
    from agent.config.sources import load_provider_keys
    from agent.search.drive import drive
    from agent.search.plan import reopened
    from agent.strategy.loop import drive_strategy
    from agent.strategy.plan import STRATEGY
    from agent.study.arms import STUDY
    from agent.study.measure import MEASURED
    from agent.study.run import resume_arm
    from agent.trials.confirm import CONFIRM, drive_confirm, specs_of
    from agent.trials.train import BY_HAND, drive_training
    from memory.connection import opened
    from memory.searches import find_protocol, find_search

    load_provider_keys()
    path = memory_path(db)
    with opened(path, read_only=True) as memory:
        found = find_search(memory, name)
        protocol = find_protocol(memory, found.protocol)
    overrides: dict[str, object] = {"llm": llm, "base_url": base_url, "llm_fallbacks": llm_fallbacks}
    overrides |= {"rounds": rounds, "db": path, "prices": prices and prices.absolute()}
    overrides |= {"max_cost": max_cost, "max_hours": max_hours, "max_tokens": max_tokens}
    overrides |= {"approve": approve, "parallel": parallel, "nproc": nproc, "executor": executor}
    overrides |= {"prune": prune, "log_with": log_with}
    if found.searcher == MEASURED:
        raise UserError(f"'{found.name}' measures a strategy; resume the search for strategies that proposed it")
    planned = reopened(found.config_json, protocol, overrides)
    keep_limits(planned.config, found.id, overrides)
    if found.searcher == STUDY:
        raise typer.Exit(resume_arm(found.id, planned, as_json=as_json))
    if found.searcher == STRATEGY:
        raise typer.Exit(drive_strategy(found.id, planned, as_json=as_json))
    if found.searcher == CONFIRM:
        raise typer.Exit(drive_confirm(found.id, planned, specs_of(found), as_json=as_json))
    go_on = drive_training if found.searcher == BY_HAND else drive
    raise typer.Exit(go_on(found.id, planned, as_json=as_json))
