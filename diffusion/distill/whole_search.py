"""The search that blocks are to be better than: students of the whole network, judged as a whole.

Regularised evolution (Real et al. 2019, arXiv 1802.01548): the oldest of a population dies, the best of a few drawn
from it has a child that differs in one unit. Only students within the target live, so a child that is too large gives
up more. What is judged is for the caller to say: the error of the network's output, say, with the weights of supernets.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from diffusion.distill.baselines import Within, at_random
from diffusion.distill.plan import Evolution
from diffusion.distill.units import Choice, Choices, Unit
from diffusion.streams import stream_seed


class Judged(NamedTuple):
    """A student and what it was judged at, lower being better."""

    choices: dict[str, Choice]
    error: float


def evolve(within: Within, judge: Callable[[Choices], float], how: Evolution) -> Iterator[Judged]:
    """Students within the target as they are judged, each once; a function of the seed and of what was judged.

    Raises:
        UserError: the target is out of reach.
    """
    alive: list[Judged] = []
    seen: set[tuple[Choice, ...]] = set()
    for number in range(how.evaluations):
        rng = random.Random(stream_seed(how.seed, "evolution", number))
        born = _born(alive, within, how, rng)
        key = tuple(born[unit.name] for unit in within.units)
        if key in seen:
            continue  # it took its turn: a small space is not searched for ever
        seen.add(key)
        judged = Judged(born, judge(born))
        alive = [*alive, judged][-how.population :]
        yield judged


def _born(alive: Sequence[Judged], within: Within, how: Evolution, rng: random.Random) -> dict[str, Choice]:
    """A random student while the population grows, then a child of the best of some."""
    if len(alive) < how.population:
        return at_random(within, rng.randrange(2**31))
    parent = min(rng.sample(list(alive), min(how.contestants, len(alive))), key=lambda each: each.error)
    child = {**parent.choices, **_changed(rng.choice(list(within.units)), parent.choices, rng)}
    for unit in rng.sample(list(within.units), len(within.units)):
        if within.holds(child):
            break
        smaller = [choice for choice in unit.choices() if choice.width < child[unit.name].width]
        child |= {unit.name: rng.choice(smaller)} if smaller else {}
    return child if within.holds(child) else dict(parent.choices)


def _changed(unit: Unit, choices: Choices, rng: random.Random) -> dict[str, Choice]:
    """Another choice of a unit."""
    others = [choice for choice in unit.choices() if choice != choices[unit.name]]
    return {unit.name: rng.choice(others)} if others else {}
