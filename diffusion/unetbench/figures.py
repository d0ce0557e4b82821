"""What the numbers of a table say: how much is noise, how well one seed's ranking tells another's, what can be had."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from diffusion.spec import UNetSpec
from diffusion.statistics.noise import Noise, critical_value, log_scores, pooled_noise
from diffusion.statistics.ranking import RankAgreement, correlations
from diffusion.unetbench.table import NetworkRow, Table

ERROR_RATE = 0.05  # of the interval of the best possible score


class Best(NamedTuple):
    """The network with the lowest mean, and between what the lowest true mean of all lies."""

    spec: UNetSpec
    score: float  # the mean over its seeds, which it was picked for: a little too low
    low: float
    high: float


def noise_at(table: Table, step: int) -> Noise | None:
    """How much retraining moves a score after so many steps, from all networks together.

    None before three seeds of the baseline.
    """
    return pooled_noise(_all_scores(table, step), str(table.baseline))


def agreement_at(table: Table, step: int, seeds: tuple[int, int] = (0, 1)) -> RankAgreement:
    """How the ranking by one training of each network agrees with that by another.

    Raises:
        ValueError: fewer than five networks have both.
    """
    one, other = ([_score_of(row, seed, table.steps.index(step)) for row in table.contents.networks] for seed in seeds)
    return correlations(one, other)


def steps_agreement(table: Table, step: int) -> RankAgreement:
    """How the ranking after so many steps agrees with that at the end, both by the means over seeds.

    The scores are of the same trainings, so a lucky seed is lucky in both.

    Raises:
        ValueError: fewer than five networks.
    """
    means = [[table.mean(row.spec, at) for row in table.contents.networks] for at in (step, table.steps[-1])]
    return correlations(*means)


def best_at(table: Table, step: int) -> Best | None:
    """The best that a search can find, and an interval of the lowest true mean; None before noise is known.

    The intervals of all N networks hold together at 95 % (Bonferroni, a union bound), so the lowest true mean lies
    between the lowest of their lower ends and the lowest of their upper ends, although the best was picked as the best
    of many.
    """
    noise, scores = noise_at(table, step), _all_scores(table, step)
    scored = {spec: log_scores(found) for spec, found in scores.items() if found}
    if noise is None or not scored:
        return None
    width = critical_value(ERROR_RATE / len(scored), noise.degrees_of_freedom) * noise.log_std
    means = {spec: math.fsum(logs) / len(logs) for spec, logs in scored.items()}
    margins = {spec: width / math.sqrt(len(logs)) for spec, logs in scored.items()}
    first = min(means, key=lambda spec: (means[spec], spec))
    low, high = (min(means[spec] + sign * margins[spec] for spec in means) for sign in (-1, 1))
    return Best(UNetSpec.parse(first), *map(math.exp, (means[first], low, high)))


def _all_scores(table: Table, step: int) -> Mapping[str, list[float]]:
    """The scores of each network at a step, by its spec."""
    return {str(row.spec): table.scores(row.spec, step) for row in table.contents.networks}


def _score_of(row: NetworkRow, seed: int, place: int) -> float | None:
    """The score of the training of one seed; None where there is none."""
    found = next((each for each in row.trainings if each.seed == seed and each.error is None), None)
    return found.scores[place] if found else None
