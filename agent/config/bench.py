"""``--bench``: what a table of trained networks settles of a search, and what then cannot be asked for."""

from typing import Any

from agent.config.settings import GROUPS, RunConfig
from diffusion.unetbench.table import Table, find_table
from tools.executors.machine import Machine, this_machine
from tools.executors.tabular import ONE_AT_A_TIME

OF_NO_ACCOUNT = ("data_dir", "resolution", "feature_weights")  # where files lie; images keep the size that they have
FIXED = tuple(
    name for group in ("data", "strategy", "score") for name in GROUPS[group].model_fields if name not in OF_NO_ACCOUNT
)
"""The settings that make a protocol."""


def table_of(config: RunConfig) -> Table | None:
    """Where results are looked up, if nothing is to be trained.

    Raises:
        UserError: there is no such table, or its file was altered.
    """
    return None if config.search.bench is None else find_table(config.search.bench)


def machine_of(config: RunConfig) -> Machine:
    """Where jobs run that need no cluster."""
    return this_machine() if config.search.bench is None else ONE_AT_A_TIME


def bench_settings(table: Table) -> dict[str, Any]:
    """The settings of a search on a table, by their flat names; what is asked for otherwise has to agree with them."""
    protocol = table.contents.protocol
    values = {**protocol.settings.model_dump(), **protocol.strategy.model_dump(), **protocol.score.model_dump()}
    return {name: values[name] for name in FIXED} | {"space": table.space, "baseline": table.baseline}


def objection(config: RunConfig, table: Table) -> tuple[str, str] | None:
    """The first setting that a table does not allow, by its flat name, and what is wrong with it."""
    asked, has = config.flat(), bench_settings(table)
    if config.strategy.train_steps not in table.steps:
        steps = ", ".join(map(str, table.steps))
        return "train_steps", f"{config.strategy.train_steps}: the table {table.name} has scores at {steps} steps"
    for name in FIXED:
        if name != "train_steps" and asked[name] != has[name]:
            return name, f"{asked[name]}: the table {table.name} was made with {has[name]}; leave it out"
    side = table.contents.card.resolution
    if config.data.resolution not in (None, side):
        return "resolution", f"{config.data.resolution}: the images of the table {table.name} have {side}; leave it out"
    if not _is_part(config, table):
        return "space", f"{config.search.space.name}: the table {table.name} lacks some of its specs; leave it out"
    if config.search.prune:
        return "prune", f"finds nothing to stop: the trainings of the table {table.name} are over; leave it out"
    if config.jobs.executor != "local":
        return "executor", f"{config.jobs.executor} has nothing to run beside the table {table.name}; leave it out"
    return None


def _is_part(config: RunConfig, table: Table) -> bool:
    """Whether each spec of the space that is asked for is in that of the table."""
    space, whole = config.search.space, table.space
    return space.stages == whole.stages and all(
        set(values) <= set(whole.choices[name]) for name, values in space.choices.items()
    )
