"""What a search is about, as far as directives need it: its space, its budget, and what each spec in it would cost.

Everything is exact and closed-form, for one spec or for all rows of the space at once. Latency is measured, not
counted, so it is not known here (`tools.gates.latency`).
"""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffusion.cost.closed_form import Convention, Costs, costs
from diffusion.cost.peak_memory import peak_bytes_of_many
from diffusion.errors import UserError
from diffusion.networks import distinct, networks
from diffusion.settings import Family, Protocol, TrainJob
from diffusion.space import SearchSpace
from diffusion.spec import Rows, UNetSpec, parameters, stages_of

Mask = NDArray[np.bool_]  # (N,)
Region = tuple[int | None, ...]  # values in the order of a row; None is any

REGION_TEXT = re.compile(r"b(\*|\d{1,9})-n(\*|\d{1,9})-m((?:\*|\d{1,9})(?:\.(?:\*|\d{1,9})){2,5})-a([01*]{3,6})")
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

    @property
    def respelled(self) -> "Respelled":
        """The other spellings of the rows."""
        return respelled(self.space, self.protocol.settings.family)

    @cached_property
    def within_budget(self) -> Mask:
        """Which of the rows the budget allows."""
        return self.costs(self.rows).macs(self.convention) <= self.budget_macs

    def counted(self, networks: int) -> str:
        """So many of the networks, for people; of a huge space with how many were looked at."""
        return f"{networks:,}" if self.space.is_enumerable else f"{networks:,} (of {len(self.rows):,} looked at)"

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


class Respelled(NamedTuple):
    """Members of a space that spell a network otherwise than its rows do, and at which row each network stands."""

    rows: Rows
    of: NDArray[np.int64]  # (N,)


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


@lru_cache(maxsize=4)
def respelled(space: SearchSpace, family: Family) -> Respelled:
    """All members, or all of the sample, that are none of the network rows."""
    members, rows = space.rows(), network_rows(space, family)
    _, kinds = np.unique(networks(members, family), axis=0, return_inverse=True)
    _, places = np.unique(networks(rows, family), axis=0, return_index=True)  # of the same kinds in the same order
    of = places[kinds.ravel()]
    is_other = (members != rows[of]).any(axis=1)
    return Respelled(members[is_other], of[is_other])


def region(pattern: str) -> Region:
    """The values of a spec or of a partial one such as ``b*-n*-m*.*.*.*-a1***``; None where any is meant.

    Raises:
        UserError: it is neither.
    """
    match = REGION_TEXT.fullmatch(pattern.strip())
    if not match or len(match[3].split(".")) != len(match[4]):
        raise UserError(
            f"'{pattern}' is neither a spec nor a region; write b128-n2-m1.2.2.2-a0100, with * where any value is meant"
        )
    parts = [match[1], match[2], *match[3].split("."), *match[4]]
    return tuple(None if part == "*" else int(part) for part in parts)


def stages_of_region(found: Region) -> int:
    """How many stages the specs of a region have."""
    return (len(found) - 2) // 2


def inside(found: Region, rows: Rows) -> Mask:
    """Which rows lie in a region; where all its widths are said, in whatever spelling."""
    base, blocks, *others = found
    multipliers, flags = others[: stages_of(rows)], others[stages_of(rows) :]
    if base is not None and None not in multipliers:
        rows = networks(rows, "ddpm")[:, :-1]
        found = (blocks, *(base * (multiplier or 0) for multiplier in multipliers), *flags)
    fits = np.ones(len(rows), dtype=np.bool_)
    for column, value in zip(rows.T, found, strict=True):
        if value is not None:
            fits &= column == value
    return fits


def column(rows: Rows, parameter: str) -> NDArray[np.int64]:
    """The values of one of the numbers.  (N,)"""
    return rows[:, parameters(stages_of(rows)).index(parameter)]
