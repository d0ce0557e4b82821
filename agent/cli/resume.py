"""``diffnas-agent resume``: go on with an interrupted search, of whatever kind."""

from typing import Annotated

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
    from agent.config.kinds import resumed
    from agent.config.sources import load_provider_keys
    from agent.search.plan import reopened
    from memory.connection import check_existing_memory, opened
    from memory.searches import find_protocol, find_search

    load_provider_keys()
    path = memory_path(db)
    check_existing_memory(path)  # an older one is brought up to date
    with opened(path, read_only=True) as memory:
        found = find_search(memory, name)
        protocol = find_protocol(memory, found.protocol)
    overrides: dict[str, object] = {"llm": llm, "base_url": base_url, "llm_fallbacks": llm_fallbacks}
    overrides |= {"rounds": rounds, "db": path, "prices": prices and prices.absolute()}
    overrides |= {"max_cost": max_cost, "max_hours": max_hours, "max_tokens": max_tokens}
    overrides |= {"approve": approve, "parallel": parallel, "nproc": nproc, "executor": executor}
    overrides |= {"prune": prune, "log_with": log_with}
    go_on = resumed(found)
    planned = reopened(found.config_json, protocol, overrides)
    keep_limits(planned.config, found.id, overrides)
    raise typer.Exit(go_on(found.id, planned, as_json=as_json))
