"""Students that nobody searched for, at the same target: what block-wise search is to be better than.

    uniform     every unit as much narrower, the channels of least magnitude gone; kernels and attention stay
    at_random   units take a random choice, one after the other in random order, until the target is met

Both are chosen by costs alone. What they start from (the teacher's weights or none) and how they are retrained is the
caller's, so that all methods differ in nothing else.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from diffusion.cost.closed_form import Convention
from diffusion.distill.allocation import Whole
from diffusion.distill.costs import units_cost
from diffusion.distill.units import Choice, Choices, Unit
from diffusion.errors import UserError

RATIOS = 64  # that uniform tries, evenly from the teacher's width down


@dataclass(frozen=True)
class Within:
    """What students of a teacher may cost."""

    units: Sequence[Unit]
    whole: Whole
    target: float  # the most of the teacher's multiply-accumulates, and of its parameters
    convention: Convention

    def holds(self, choices: Choices) -> bool:
        """Whether a student's multiply-accumulates and parameters are both within the target."""
        cost = units_cost(self.units, choices)
        macs, params = self.whole.left(self.target)
        return cost.macs(self.convention) <= macs and cost.params <= params


def uniform(within: Within) -> dict[str, Choice]:
    """The widest student that is as much narrower everywhere.

    Raises:
        UserError: even the narrowest is too large.
    """
    for step in range(RATIOS, 0, -1):
        choices = {unit.name: _narrower(unit, step / RATIOS) for unit in within.units}
        if within.holds(choices):
            return choices
    raise UserError(
        f"'--target {within.target:g}' is out of reach of a uniform student, which keeps kernels and attention; "
        "ask for more"
    )


def _narrower(unit: Unit, ratio: float) -> Choice:
    return unit.whole.model_copy(update={"width": min(unit.width(ratio), unit.outputs)})


def at_random(within: Within, seed: int) -> dict[str, Choice]:
    """A student of random choices, a function of the seed; where chance is not enough the rest gives up all.

    Raises:
        UserError: even shortcuts alone are too large.
    """
    rng, choices = random.Random(seed), {unit.name: unit.whole for unit in within.units}
    for least in (False, True):
        for unit in rng.sample(list(within.units), len(within.units)):
            if within.holds(choices):
                return choices
            choices[unit.name] = unit.choices()[0] if least else rng.choice(unit.choices())
    if within.holds(choices):
        return choices
    raise UserError(f"'--target {within.target:g}' is out of reach: shortcuts alone are larger; ask for more")
