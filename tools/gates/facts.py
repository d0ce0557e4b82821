"""What a search is about, as far as directives need it: its space, its budget, and what each spec in it would cost.

Everything is exact and closed-form, for one spec or for all rows of the space at once. Latency is measured, not
counted, so it is not known here (`tools.gates.latency`).
"""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffusion.cost.closed_form import Convention, Costs, costs
from diffusion.cost.peak_memory import peak_bytes_of_many
from diffusion.errors import UserError
from diffusion.networks import distinct
from diffusion.settings import Family, Protocol, TrainJob
from diffusion.space import SearchSpace
from diffusion.spec import Rows, UNetSpec, parameters, stages_of

Mask = NDArray[np.bool_]  # (N,)
Region = tuple[int | None, ...]  # ten values; None is any

REGION_TEXT = re.compile(r"b(\*|\d{1,9})-n(\*|\d{1,9})-m((?:\*|\d{1,9})(?:\.(?:\*|\d{1,9})){3})-a([01*]{4})")
ROUNDING = 1e-9  # a distance of three doublings is not to miss 3 by the last bit


@dataclass(frozen=True)
class Facts:
    """The limits of one search and how its trainings run. `rows` and `within_budget` are worked out once."""

    space: SearchSpace
    budget_macs: int
    convention: Convention
    protocol: Protocol
    data_folder: Path
    processes: int = 1  # of each training
    device: Literal["cpu", "cuda"] = "cpu"  # where trainings compute
    searches_strategies: bool = False  # else the training strategy is fixed

    @cached_property
    def rows(self) -> Rows:
        """Every network of the space, in one spelling; of a huge space a sample."""
        return network_rows(self.space, self.protocol.settings.family)

    @cached_property
    def within_budget(self) -> Mask:
        """Which of the rows the budget allows."""
        return self.costs(self.rows).macs(self.convention) <= self.budget_macs

    def costs(self, rows: Rows) -> Costs:
        """The closed-form costs of specs; those of all rows are counted once."""
        settings = self.protocol.settings
        under = (settings.family, settings.resolution, settings.channels)
        return network_costs(self.space, *under) if rows is self.rows else costs(rows, *under)

    def memory_bytes(self, rows: Rows) -> NDArray[np.int64]:
        """The most memory that one process of each training holds, estimated before it is spent.  (N,)"""
        settings, strategy = self.protocol.settings, self.protocol.strategy
        job = TrainJob(
            spec=UNetSpec.from_row(rows[0]),
            settings=settings,
            strategy=strategy,
            seed=0,
            data_fingerprint=self.protocol.data_fingerprint,
            data_folder=self.data_folder,
            run_folder=self.data_folder,
            processes=self.processes,
        )
        return peak_bytes_of_many(job, self.costs(rows), self.device)


@lru_cache(maxsize=4)
def network_rows(space: SearchSpace, family: Family) -> Rows:
    """Every network of a space, in one spelling; of a huge space a sample. Worked out once in a process."""
    rows = distinct(space.rows(), family)
    rows.setflags(write=False)
    return rows


@lru_cache(maxsize=4)
def network_costs(space: SearchSpace, family: Family, resolution: int, channels: int) -> Costs:
    """What each of them costs."""
    return costs(network_rows(space, family), family, resolution, channels)


def region(pattern: str) -> Region:
    """The ten values of a spec or of a partial one such as ``b*-n*-m*.*.*.*-a1***``; None where any is meant.

    Raises:
        UserError: it is neither.
    """
    match = REGION_TEXT.fullmatch(pattern.strip())
    if not match:
        raise UserError(
            f"'{pattern}' is neither a spec nor a region; write b128-n2-m1.2.2.2-a0100, with * where any value is meant"
        )
    parts = [match[1], match[2], *match[3].split("."), *match[4]]
    return tuple(None if part == "*" else int(part) for part in parts)


def inside(found: Region, rows: Rows) -> Mask:
    """Which rows lie in a region."""
    fits = np.ones(len(rows), dtype=np.bool_)
    for column, value in zip(rows.T, found, strict=True):
        if value is not None:
            fits &= column == value
    return fits


def column(rows: Rows, parameter: str) -> NDArray[np.int64]:
    """The values of one of the ten numbers.  (N,)"""
    return rows[:, parameters(stages_of(rows)).index(parameter)]
