"""Block-wise local search: every block's students by themselves, then one of each under the target for the whole.

What may be left of a block is a product over its units. Where that is few enough all of it is judged; else each unit is
looked at alone first, the others whole, and what is worse in all that counts is left out. Judged is the error on calls
of the block that supernets have not learned from. Only candidates that no other beats in multiply-accumulates, in
parameters and in error are kept, and of these it is measured what they do to the network's output in the place of
their block: what the allocation adds up, since the error of one block may be lost in the next or be all that is seen.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diffusion.cost.closed_form import Convention
from diffusion.distill.allocation import Allocation, Candidates, Whole, allocate, pareto
from diffusion.distill.costs import StudentCost, unit_cost, units_cost
from diffusion.distill.supernet import BlockSupernet, InPlace, errors_of
from diffusion.distill.units import Choice
from diffusion.distill.watching import Seen

MOST = 1_000  # students of a block that are judged
TOLERANCE = 0.05  # of the error, over that of the largest student: what counts as unharmed


@dataclass(frozen=True)
class JudgedBlock:
    """The students of one block that none other beats, the cheapest first."""

    name: str
    students: tuple[dict[str, Choice], ...]
    costs: tuple[StudentCost, ...]
    errors: tuple[float, ...]
    in_place: tuple[float, ...]  # of the whole network's output, with each in the place of the block
    whole_error: float  # of the largest student
    judged: int  # students, before those that are beaten were left out

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON gives it back to the bit."""
        students = [{name: choice.model_dump(mode="json") for name, choice in each.items()} for each in self.students]
        errors = {"errors": self.errors, "in_place": self.in_place, "whole_error": self.whole_error}
        return {"name": self.name, "students": students, "costs": self.costs, **errors, "judged": self.judged}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """What `as_json` made."""
        students = [
            {name: Choice.model_validate(choice) for name, choice in each.items()} for each in found["students"]
        ]
        costs = tuple(StudentCost(*cost) for cost in found["costs"])
        return cls(
            name=str(found["name"]),
            students=tuple(students),
            costs=costs,
            errors=tuple(found["errors"]),
            in_place=tuple(found["in_place"]),
            whole_error=float(found["whole_error"]),
            judged=int(found["judged"]),
        )

    def candidates(self, convention: Convention) -> Candidates:
        """For the allocation."""
        macs = [cost.macs(convention) for cost in self.costs]
        return Candidates(macs, [cost.params for cost in self.costs], self.in_place)

    def cheapest_unharmed(self, convention: Convention, tolerance: float = TOLERANCE) -> int:
        """The student of the fewest multiply-accumulates whose error is within the tolerance of the largest one's."""
        unharmed = [place for place, error in enumerate(self.errors) if error <= self.whole_error + tolerance]
        return min(unharmed, key=lambda place: (self.costs[place].macs(convention), self.costs[place].params))


def judged(
    net: BlockSupernet,
    seen: Sequence[Seen],
    place: InPlace,
    most: int = MOST,
    before_each: Callable[[], None] = lambda: None,
) -> JudgedBlock:
    """Judge the students of a block over some calls of it, and those that are kept in its place in the teacher.

    What is called before each may raise to end it.
    """
    students = _students(net, seen, most, before_each)
    errors = errors_of(net, students, seen, before_each)
    costs = [units_cost(net.units, choices) for choices in students]
    kept = _unbeaten_by_cost(costs, errors)
    return JudgedBlock(
        net.name,
        students=tuple(students[number] for number in kept),
        costs=tuple(costs[number] for number in kept),
        errors=tuple(errors[number] for number in kept),
        in_place=tuple(place.errors(net, [students[number] for number in kept], before_each)),
        whole_error=errors_of(net, [net.whole], seen)[0],
        judged=len(students),
    )


def _students(
    net: BlockSupernet, seen: Sequence[Seen], most: int, before_each: Callable[[], None]
) -> list[dict[str, Choice]]:
    options = {unit.name: unit.choices() for unit in net.units}
    if math.prod(map(len, options.values())) > most:
        a_unit = max(int(most ** (1 / len(options))), 2)
        options = {name: _worth_a_look(net, name, seen, a_unit, before_each) for name in options}
    return [dict(zip(options, each, strict=True)) for each in itertools.product(*options.values())]


def _worth_a_look(
    net: BlockSupernet, name: str, seen: Sequence[Seen], most: int, before_each: Callable[[], None]
) -> list[Choice]:
    """The choices of a unit that none other beats while the others are whole, thinned evenly by cost."""
    unit = next(unit for unit in net.units if unit.name == name)
    choices = unit.choices()
    errors = errors_of(net, [{**net.whole, name: choice} for choice in choices], seen, before_each)
    kept = _unbeaten_by_cost([unit_cost(unit, choice) for choice in choices], errors)
    thinned = [
        kept[place] for place in np.unique(np.linspace(0, len(kept) - 1, min(most, len(kept))).round().astype(int))
    ]
    return [choices[place] for place in thinned]


def _unbeaten_by_cost(costs: Sequence[StudentCost], errors: Sequence[float]) -> list[int]:
    """The places of what no other beats in costs and error, the cheapest first."""
    kept = unbeaten([(*cost, error) for cost, error in zip(costs, errors, strict=True)])
    return sorted(kept, key=lambda place: costs[place])


def unbeaten(points: Sequence[Sequence[float]]) -> list[int]:
    """The places of points that no other is at least as low in everything; of equal points the first.  N × (k,)"""
    values: NDArray[np.float64] = np.asarray(points, dtype=np.float64)
    found = []
    for place, point in enumerate(values):
        as_low = (values <= point).all(axis=1)
        lower = as_low & (values < point).any(axis=1)
        if not lower.any() and not as_low[:place].any():
            found.append(place)
    return found


@dataclass(frozen=True)
class Found:
    """A student of the whole teacher."""

    choices: dict[str, Choice]
    macs: int
    params: int
    loss: float  # predicted: the sum of what each of its blocks does to the output


def within(blocks: Mapping[str, JudgedBlock], whole: Whole, target: float, convention: Convention) -> Found:
    """The student whose blocks do least to the output, summed, within a target.

    Raises:
        UserError: the target is out of reach.
    """
    return _found(blocks, allocate([block.candidates(convention) for block in blocks.values()], whole, target))


def curve(blocks: Mapping[str, JudgedBlock], whole: Whole, convention: Convention) -> list[tuple[float, Found]]:
    """What is lost at which target, from the smallest that can be met to the whole teacher."""
    found = pareto([block.candidates(convention) for block in blocks.values()], whole)
    return [(target, _found(blocks, allocation)) for target, allocation in found]


def _found(blocks: Mapping[str, JudgedBlock], allocation: Allocation) -> Found:
    choices: dict[str, Choice] = {}
    for block, place in zip(blocks.values(), allocation.chosen, strict=True):
        choices |= block.students[place]
    return Found(choices, allocation.macs, allocation.params, allocation.loss)
