"""What is one step away, and how far specs are apart: of specs as rows of numbers, of strategies value by value.

Whoever proposes without a language model walks here: from what did best to what differs from it in one number, in an
order that a seed fixes. Which of it may be tried is not known here.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from diffusion.networks import distinct, networks, spellings, spellings_in
from diffusion.settings import Family, Strategy
from diffusion.space import SearchSpace
from diffusion.spec import Rows, UNetSpec, parameters, stages_of

HORIZON_STEP = 4.0  # of the averaged weights: a factor that is more than noise

Found = TypeVar("Found")
Place = tuple[int, ...]  # of each number among its choices, in the order of a row


def neighbours(space: SearchSpace, spec: UNetSpec, family: Family = "ddpm") -> Rows:
    """The networks one step away: one number moved to the next smaller or larger allowed value, in any spelling.

    Each stands in the spelling of the widest base.  (N, 2 + 2 stages)
    """
    return distinct(spelled_neighbours(space, spec, family), family)


def spelled_neighbours(space: SearchSpace, spec: UNetSpec, family: Family) -> Rows:
    """The same in every spelling that a step leads to.  (N, 2 + 2 stages)"""
    members = spellings_in(space, spec, family)
    found = np.array([row for each in members for row in _one_step_away(space, each)], dtype=np.int64)
    near = found.reshape(-1, len(spec.row))
    itself = networks(np.array([spec.row], dtype=np.int64), family)
    return np.asarray(near[(networks(near, family) != itself).any(axis=1)], dtype=np.int64)


def _one_step_away(space: SearchSpace, spec: UNetSpec) -> Iterator[list[int]]:
    for index, (allowed, here) in enumerate(zip(space.choices.values(), spec.row, strict=True)):
        place = allowed.index(here)
        for other in (*allowed[max(0, place - 1) : place], *allowed[place + 1 : place + 2]):
            yield [*spec.row[:index], other, *spec.row[index + 1 :]]


def strategy_neighbours(strategy: Strategy) -> Iterator[tuple[str, float]]:
    """One value moved by one step, for every value and direction: its name, and what it becomes, in bounds or not."""
    for name in ("learning_rate", "diffusion_steps", "batch_size"):
        for factor in (2.0, 0.5):
            yield name, getattr(strategy, name) * factor
    for change in (0.1, -0.1):
        yield "dropout", strategy.dropout + change
    yield "train_steps", strategy.train_steps // 2
    for warmup_steps in (strategy.train_steps // 10, 0):
        yield "warmup_steps", warmup_steps
    for factor in (HORIZON_STEP, 1 / HORIZON_STEP):
        yield "ema_decay", 1 - (1 - strategy.ema_decay) / factor


@dataclass(frozen=True)
class Grid:
    """A space by places, where classical optimisers move: of each number of a spec its place among its choices."""

    space: SearchSpace
    family: Family

    @property
    def sizes(self) -> dict[str, int]:
        """How many choices each number has."""
        return {name: len(values) for name, values in self.space.choices.items()}

    def place(self, spec: UNetSpec) -> Place | None:
        """Where a spec lies, in another spelling of its network if the space has it only there; None outside."""
        for each in (spec, *spellings(spec, self.family)):
            if self.space.why_not(each) is None:
                choices = self.space.choices.values()
                return tuple(values.index(number) for values, number in zip(choices, each.row, strict=True))
        return None

    def spec(self, place: Place) -> UNetSpec:
        """The spec at a place."""
        return UNetSpec.from_row(
            [values[index] for values, index in zip(self.space.choices.values(), place, strict=True)]
        )


def shuffled(found: Iterable[Found], text: Callable[[Found], str]) -> list[Found]:
    """In an order that looks random and is a function of the texts, which name the seed."""
    return sorted(found, key=lambda each: hashlib.sha256(text(each).encode()).digest())


def moved(one: UNetSpec, other: UNetSpec) -> dict[str, tuple[int, int]]:
    """The numbers in which two specs differ, each with both values."""
    pairs = zip(parameters(one.stages), one.row, other.row, strict=True)
    return {name: (here, there) for name, here, there in pairs if here != there}


def one_step(parent: str, name: str, old: object, new: object) -> str:
    """How a proposer says which step it took from a trial or strategy."""
    return f"One step from {parent}: {name} {old} → {new}"


def distances(rows: Rows, spec: UNetSpec) -> NDArray[np.float64]:
    """How far each row is from a spec: a doubling of a number, or a changed attention, counts one.  (N,)"""
    here, sizes_end = np.array(spec.row), 2 + stages_of(rows)
    sizes = np.abs(np.log2(rows[:, :sizes_end] / here[:sizes_end])).sum(axis=1)
    flags = (rows[:, sizes_end:] != here[sizes_end:]).sum(axis=1)
    return np.asarray(sizes + flags, dtype=np.float64)
