"""Students that nobody searched for, at the same target: what block-wise search is to be better than.

    uniform     every unit as much narrower, the channels of least magnitude gone; kernels and attention stay
    at_random   units take a random choice, one after the other in random order, until the target is met

Both are chosen by costs alone. What they start from (the teacher's weights or none) and how they are retrained is the
caller's, so that all methods differ in nothing else.
"""

import random
from collections.abc import Sequence

from diffusion.cost.closed_form import Convention
from diffusion.distill.allocation import Whole
from diffusion.distill.costs import StudentCost, unit_cost
from diffusion.distill.units import Choice, Choices, Unit
from diffusion.errors import UserError

RATIOS = 64  # that uniform tries, evenly from the teacher's width down


def uniform(units: Sequence[Unit], whole: Whole, target: float, convention: Convention) -> dict[str, Choice]:
    """The widest student that is as much narrower everywhere.

    Raises:
        UserError: even the narrowest is too large.
    """
    for step in range(RATIOS, 0, -1):
        choices = {unit.name: _narrower(unit, step / RATIOS) for unit in units}
        if fits(units, choices, whole, target, convention):
            return choices
    raise UserError(
        f"'--target {target:g}' is out of reach of a uniform student, which keeps kernels and attention; ask for more"
    )


def _narrower(unit: Unit, ratio: float) -> Choice:
    return unit.whole.model_copy(update={"width": min(unit.width(ratio), unit.outputs)})


def at_random(
    units: Sequence[Unit], whole: Whole, target: float, convention: Convention, seed: int
) -> dict[str, Choice]:
    """A student of random choices, a function of the seed.

    Raises:
        UserError: even shortcuts alone are too large.
    """
    rng, choices = random.Random(seed), {unit.name: unit.whole for unit in units}
    for unit in rng.sample(list(units), len(units)):
        if fits(units, choices, whole, target, convention):
            return choices
        choices[unit.name] = rng.choice(unit.choices())
    for unit in rng.sample(list(units), len(units)):  # chance was not enough: the rest goes
        if fits(units, choices, whole, target, convention):
            return choices
        choices[unit.name] = unit.choices()[0]
    if fits(units, choices, whole, target, convention):
        return choices
    raise UserError(f"'--target {target:g}' is out of reach: shortcuts alone are larger; ask for more")


def fits(units: Sequence[Unit], choices: Choices, whole: Whole, target: float, convention: Convention) -> bool:
    """Whether a student's multiply-accumulates and parameters are both within the target."""
    cost = sum((unit_cost(unit, choices[unit.name]) for unit in units), StudentCost(0, 0, 0))
    macs, params = whole.left(target)
    return cost.macs(convention) <= macs and cost.params <= params
