"""Which networks a surrogate would try next: what the searcher `gp` proposes is the first, and models are shown more.

By expected improvement over everything that is feasible; with fewer than five scores at random, by a generator that
(seed, round) fixes. Nothing here asks a memory: what was tried and what is feasible is given.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from diffusion.networks import Networks, networks
from diffusion.settings import Family
from diffusion.spec import Rows, UNetSpec, stages_of
from diffusion.statistics.surrogate import Surrogate, log_score
from diffusion.streams import stream_seed

WITHOUT_SCORE = ("failed", "pruned")  # over, and worse than any that has one


class Trial(Protocol):
    """What is looked at of a trial; a refusal is none."""

    @property
    def spec(self) -> UNetSpec: ...

    @property
    def state(self) -> str: ...

    @property
    def score(self) -> float | None: ...


class Forecast(NamedTuple):
    """What the surrogate expects of one network."""

    score: float  # the median of what would be measured
    low: float  # the bounds of its 90 % interval, the noise of a training included
    high: float
    improvement: float  # expected, in log score: 0.02 is 2 % below the best


class Suggestion(NamedTuple):
    """A network to try; without a forecast it was drawn at random."""

    spec: UNetSpec
    forecast: Forecast | None


class Suggestions(NamedTuple):
    """The networks to try, best first, and the surrogate that says so, None with fewer than five scores."""

    found: list[Suggestion]
    surrogate: Surrogate | None


def round_generator(seed: int, round_number: int) -> np.random.Generator:
    """What all that a round draws comes from, so that a round that is played again draws the same."""
    return np.random.default_rng(stream_seed(seed, "searcher", round_number))


def surrogate_of(trials: Iterable[Trial], family: Family, stages: int) -> Surrogate | None:
    """The surrogate of a search: failed and pruned trials are as bad as the worst, those under way are believed.

    With trials of other searches those of another number of stages are left out: their numbers do not compare.
    """
    seen = [trial for trial in trials if trial.state != "refused" and trial.spec.stages == stages]
    over = [trial for trial in seen if trial.state in ("scored", *WITHOUT_SCORE)]
    scores = [None if trial.state in WITHOUT_SCORE else log_score(trial.score) for trial in over]
    surrogate = Surrogate.fit(networks_of(over, family), scores) if over else None
    running = [trial for trial in seen if trial.state not in ("scored", *WITHOUT_SCORE)]
    return surrogate.believing(networks_of(running, family)) if surrogate and running else surrogate


def suggest(
    trials: Iterable[Trial], feasible: Rows, family: Family, rng: np.random.Generator, count: int = 1
) -> Suggestions:
    """At most so many of the feasible networks, the best to try first; of equal ones the first in their order."""
    surrogate = surrogate_of(trials, family, stages_of(feasible))
    if not len(feasible):
        return Suggestions([], surrogate)
    if surrogate is None:
        drawn = rng.permutation(len(feasible))[:count]
        return Suggestions([Suggestion(UNetSpec.from_row(feasible[place]), None) for place in drawn], None)
    places, prediction, gains = surrogate.most_promising(networks(feasible, family), count)
    forecasts = map(Forecast, *np.exp([prediction.mean, *prediction.interval()]).tolist(), gains.tolist())
    specs = [UNetSpec.from_row(feasible[place]) for place in places]
    return Suggestions(list(map(Suggestion, specs, forecasts)), surrogate)


def as_percent(improvement: float) -> str:
    """How much below the best an improvement in log score is: ``2.0 %``."""
    return f"{-math.expm1(-improvement):.1%}".replace("%", " %")


def covered(surrogate: Surrogate) -> str:
    """How well its intervals did so far, to be said beside each forecast."""
    left_out = surrogate.left_one_out()
    count = len(left_out.log_scores)
    return f"{round(left_out.coverage() * count)} of {count} scores lie in the 90 % interval that the others predict"


def networks_of(trials: Sequence[Trial], family: Family) -> Networks:
    """The networks of trials."""
    return networks(np.array([trial.spec.row for trial in trials], dtype=np.int64), family)
