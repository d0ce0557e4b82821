"""The allowance of a search: its limits as settings, whether they can be kept, and the one object that keeps them.

`agent.search.drive.context_maker` makes one for a drive and gives it to every context, and puts `tools.allowance.
WithinAllowance` around the executor. Nothing here stops a search; `tools.allowance` says when.
"""

from pathlib import Path
from typing import Any

from agent.backends.pricing import price_table
from agent.backends.registry import addresses_of
from agent.config.settings import RunConfig
from diffusion.errors import UserError
from memory.connection import Memory, opened
from memory.ledger import spent
from memory.searches import change_config
from tools.allowance import LIMITS, Allowance, Limits


def limits_of(config: RunConfig) -> Limits:
    """The limits that the settings name."""
    return Limits(config.backend.max_cost, config.backend.max_hours, config.backend.max_tokens)


def check_allowance(config: RunConfig, backends: list[tuple[str, str | None]]) -> None:
    """Whether the limits can be kept with these backends (id and server).

    Raises:
        UserError: a limit in money, and a model whose price nobody knows; or the file of prices is none.
    """
    table = price_table(config.backend.prices)
    if config.backend.max_cost is None:
        return
    for llm, base_url in backends:
        if table.price(llm, base_url) is None:
            place = f" at {base_url}" if base_url else ""
            raise UserError(
                f"--max-cost {config.backend.max_cost:g} cannot be kept: the price of {llm}{place} is unknown; "
                "give it in a file with --prices FILE, or limit --max-tokens instead"
            )


def allowance_of(search: int, config: RunConfig, memory: Memory) -> Allowance:
    """What a drive of a search may use.

    Raises:
        UserError: a limit in money, and what the search has spent before is unknown.
    """
    table = price_table(config.backend.prices)
    if config.backend.max_cost is not None:
        calls = spent(memory.db, search).unknown
        for call in calls:
            if call["cost_usd"] is None and table.price(call["model"], call["base_url"]) is None:
                raise UserError(
                    f"--max-cost {config.backend.max_cost:g} cannot be kept: what {call['model']} has cost before is "
                    "unknown; give its price in a file with --prices FILE, or limit --max-tokens instead"
                )
    return Allowance(
        memory,
        search,
        limits_of(config),
        price_of=table.cost_usd,
        llm=config.backend.llm,
        base_url=config.backend.base_url,
        answer_tokens=config.backend.llm_max_tokens,
        processes=config.jobs.nproc,
    )


def keep_limits(config: RunConfig, search: int, given: dict[str, Any]) -> None:
    """Store the limits and prices that a resume named, so that the next one has them too."""
    changed = {name: given[name] for name in (*LIMITS, "prices") if given.get(name) is not None}
    if changed:
        with opened(config.places.db) as db:
            change_config(
                db, search, {name: str(v.absolute()) if isinstance(v, Path) else v for name, v in changed.items()}
            )


def check_prices(config: RunConfig) -> None:
    """Whether a limit in money can be kept with every backend of the settings.

    Raises:
        UserError: one sentence with the remedy.
    """
    backends = addresses_of(config) + addresses_of(config, "chat")
    check_allowance(config, [(backend.llm, backend.base_url) for backend in backends])
