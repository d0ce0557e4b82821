"""The noise floor of scores: how far retraining alone moves a score, and what may then be said of a difference.

Scores are positive and lower is better. Training again with another seed multiplies a score by a random factor, so
everything here is of log-scores, taken as normal with one standard deviation for all specs of one protocol. It is
estimated from replicas: trainings of one spec that differ by their seed alone. A training that failed (None, NaN,
infinite) is not a score and is left out; a score of zero or below has no logarithm and is refused.

Nothing is trained or stored here, no torch is imported, and which scores were taken under one protocol is for the
caller to know. What is claimed at the end of a search, after many looks at many candidates, stands in
`diffusion.statistics.racing`.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from scipy.special import stdtrit

from diffusion.verdicts import Answer

Scores = Sequence[float | None]
"""The scores of one spec by its training seeds, in one unit; None, NaN or infinite where a training failed."""

MIN_REPLICAS = 3  # of the baseline: two give one degree of freedom, and intervals of a factor of ten (DESIGN, "Scores")


class Noise(NamedTuple):
    """How much retraining moves a score."""

    cv: float  # standard deviation of a score over its mean
    log_std: float  # standard deviation of a log-score
    degrees_of_freedom: int  # of the estimate


class Verdict(NamedTuple):
    """How one spec's scores stand to another's, and one sentence with the numbers."""

    answer: Answer
    ratio: float | None  # of the geometric means; below 1 is better
    low: float | None  # the interval of the ratio, at the level that was asked for
    high: float | None
    why: str


class Verdicts(NamedTuple):
    """What is said of a trial as it comes in."""

    baseline: Verdict
    incumbent: Verdict


def log_scores(scores: Scores) -> list[float]:
    """The logarithms of the scores that there are.

    Raises:
        ValueError: a score of zero or below.
    """
    found = [score for score in scores if score is not None and math.isfinite(score)]
    if bad := [score for score in found if score <= 0]:
        raise ValueError(f"{bad[0]} is no score that can be compared by ratios; scores are above zero")
    return [math.log(score) for score in found]


def pooled_noise(replicas: Mapping[str, Scores], baseline: str = "baseline") -> Noise | None:
    """The noise of a protocol, from the spread of each spec's log-scores around their own mean.

    s² = Σ (nᵢ - 1) sᵢ² / Σ (nᵢ - 1) over all specs of at least two scores; CV = (exp(s²) - 1)^½, as of a log-normal
    variable. A score that its spec was picked for lies further from the mean than chance puts it: leave it out of
    `replicas`, or the noise comes out too large.

    Args:
        replicas: the scores of each spec by its training seeds.
        baseline: the key of the spec that must have at least three scores.

    Returns:
        None with fewer than three scores of the baseline, or if all replicas agree to the last digit: those are copies
        of one training.

    Raises:
        ValueError: a score of zero or below.
    """
    groups = {spec: log_scores(scores) for spec, scores in replicas.items()}
    if len(groups.get(baseline, ())) < MIN_REPLICAS:
        return None
    repeated = [group for group in groups.values() if len(group) > 1]
    if all(min(group) == max(group) for group in repeated):
        return None
    degrees_of_freedom = sum(len(group) - 1 for group in repeated)
    variance = math.fsum(map(_squares, repeated)) / degrees_of_freedom
    return Noise(math.sqrt(math.expm1(variance)), math.sqrt(variance), degrees_of_freedom)


def interval(noise: Noise | None, scores: Scores) -> tuple[float, float] | None:
    """The 95 % interval of a spec's score: of the geometric mean over all seeds it might have had.

    exp(m ± t s n^-½): m is the mean of its n log-scores, s the pooled noise, t Student's quantile for the degrees of
    freedom of s. For a spec that was picked for its score the interval lies too low.

    Returns:
        None without noise or without a score.

    Raises:
        ValueError: a score of zero or below.
    """
    logs = log_scores(scores)
    if noise is None or not logs:
        return None
    return _around(_mean(logs), critical_value(0.05, noise.degrees_of_freedom) * noise.log_std / math.sqrt(len(logs)))


def verdict(
    noise: Noise | None, scores: Scores, other_scores: Scores, *, alpha: float = 0.05, comparisons: int = 1
) -> Verdict:
    """Whether a spec is better or worse than another: a two-sided t-test of the log-means with the pooled noise.

    |m - m'| > t s (1/n + 1/n')^½ is a difference, with t for `alpha / comparisons` (Bonferroni). Of specs that are
    equal, at most alpha / 2 are called better and at most alpha / 2 worse, over all comparisons together; each of them
    must be of scores that were not picked for being good.

    Args:
        noise: of the same protocol; None as long as it is not known.
        scores: of the spec that is judged.
        other_scores: of what it is held against.
        alpha: how often a difference is found where there is none, over all comparisons.
        comparisons: how many there are.

    Raises:
        ValueError: a score of zero or below, an alpha outside of (0, 1), or no comparison.
    """
    if not (0 < alpha < 1 and comparisons >= 1):
        raise ValueError(f"alpha {alpha} is not between 0 and 1, or {comparisons} comparisons are fewer than 1")
    logs, others = log_scores(scores), log_scores(other_scores)
    if not (logs and others):
        return Verdict("unmeasured", None, None, None, "no training has a score on one of the two sides")
    mean, other = _mean(logs), _mean(others)
    ratio = _exp(mean - other)
    facts = f"{math.exp(mean):.4g} is {ratio:.3f} × {math.exp(other):.4g}"
    if noise is None:
        why = f"{facts}, and how much is noise takes at least {MIN_REPLICAS} training seeds of the baseline to tell"
        return Verdict("unmeasured", ratio, None, None, why)
    width = critical_value(alpha / comparisons, noise.degrees_of_freedom) * noise.log_std
    low, high = _around(mean - other, width * math.sqrt(1 / len(logs) + 1 / len(others)))
    answer: Answer = "better" if high < 1 else "worse" if low > 1 else "inconclusive"
    together = "" if comparisons == 1 else f" over {comparisons:,} comparisons"
    why = (
        f"{facts}, between {low:.3f} and {high:.3f} at {1 - alpha:.1%}{together}: {answer}, by "
        f"{len(logs)} against {len(others)} trainings and {noise.cv:.1%} of noise "
        f"({noise.degrees_of_freedom} degrees of freedom)"
    )
    return Verdict(answer, ratio, low, high, why)


def trial_verdicts(
    noise: Noise | None, score: float | None, baseline: Scores, incumbent: Scores, rounds: int
) -> Verdicts:
    """What is said of a trial's first score as it comes in, so that nobody chases noise.

    What is promised holds for a whole search of so many rounds, whatever the candidates are: at most 2.5 % of searches
    hold any wrong "better" against the baseline, and at most 2.5 % any wrong "worse"; the same against the incumbent.
    Against the baseline each of the `rounds` trials is one comparison. The incumbent is the luckiest so far, so there
    every pair of trials, the baseline's with them, counts as a comparison. It is one verdict for each trial: verdicts
    taken anew whenever there are more replicas are more looks than the promise covers (after four of them 5.7 % at
    most, see ``benchmarks/verdict_simulation.py``, which also prints how large a gap must be: three replicas of the
    baseline tell little in a search of many rounds, five to eight a good deal more).

    Args:
        noise: of the protocol, from replicas that are no first scores of trials, except for the baseline's.
        score: the trial's, of its first training.
        baseline: the scores of all of the baseline's replicas.
        incumbent: the score of the best trial before this one, or all of the baseline's; empty without one.
        rounds: how many trials the search may have after the baseline.

    Raises:
        ValueError: a score of zero or below, or no round.
    """
    pairs = rounds * (rounds + 1) // 2
    return Verdicts(
        verdict(noise, [score], baseline, comparisons=rounds), verdict(noise, [score], incumbent, comparisons=pairs)
    )


@lru_cache(maxsize=4096)
def critical_value(alpha: float, degrees_of_freedom: int) -> float:
    """Student's t that is exceeded, on either side together, with probability alpha."""
    return -float(stdtrit(degrees_of_freedom, alpha / 2))  # the lower tail: 1 - alpha / 2 would lose digits


def _mean(logs: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(logs) / len(logs)


def _squares(logs: Sequence[float]) -> float:
    """The sum of the squared distances from the mean."""
    mean = _mean(logs)
    return math.fsum((value - mean) ** 2 for value in logs)


def _exp(exponent: float) -> float:
    """The exponential; infinite beyond what a float holds."""
    return math.exp(exponent) if exponent < math.log(sys.float_info.max) else math.inf


def _around(centre: float, width: float) -> tuple[float, float]:
    """exp(centre ± width)."""
    return _exp(centre - width), _exp(centre + width)
