"""Several ways to search on the same seeds: intervals of a mean, paired tests of every pair, what chance would find.

Seeds pair the searches: the same seed gives each way the same noise of the scores, so differences are taken seed by
seed. Nothing is trained or scored here.
"""

import itertools
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, permutation_test

from diffusion.statistics.noise import MIN_REPLICAS, Scores, Verdict, critical_value
from diffusion.verdicts import Answer

Numbers = NDArray[np.float64]
RESAMPLES, CURVE_RESAMPLES = 9_999, 1_999
LEVEL = 0.05


class Interval(NamedTuple):
    """A mean and the ends of its 95 % interval; of a single value the ends are None."""

    mean: float
    low: float | None
    high: float | None


def mean_interval(values: Numbers, seed: int = 0) -> Interval:
    """The mean over seeds with its bootstrap interval: bias-corrected and accelerated (Efron 1987).  (S,)

    Where all values are equal, or all but so few that a resample says nothing, the percentiles stand in.
    """
    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, None, None)
    if (values == values[0]).all():
        return Interval(mean, mean, mean)
    for method in ("BCa", "percentile"):
        rng = np.random.default_rng(seed)
        with np.errstate(all="ignore"):
            found = bootstrap((values,), np.mean, n_resamples=RESAMPLES, method=method, rng=rng).confidence_interval
        if np.isfinite([found.low, found.high]).all():
            break
    return Interval(mean, float(found.low), float(found.high))


def mean_intervals(values: Numbers, seed: int = 0) -> list[Interval]:
    """The means of many columns with percentile intervals, all from the same resamples of seeds.  (S, C) → C"""
    means = values.mean(axis=0)
    if len(values) < 2:
        return [Interval(float(mean), None, None) for mean in means]
    chosen = np.random.default_rng(seed).integers(len(values), size=(CURVE_RESAMPLES, len(values)))
    weights = np.apply_along_axis(np.bincount, 1, chosen, minlength=len(values)) / len(values)
    low, high = np.quantile(weights @ values, [LEVEL / 2, 1 - LEVEL / 2], axis=0)
    return [Interval(*map(float, each)) for each in zip(means, low, high, strict=True)]


class PairedTest(NamedTuple):
    """Whether one way has lower values than another, over the same seeds."""

    a: str
    b: str
    difference: float  # mean of a - b; below zero a is better
    p: float  # two-sided, of the permutation test that swaps a and b within a seed
    p_corrected: float  # by Holm (1979) for all pairs
    verdict: Literal["a", "b", "undecided"]  # who is better


def paired_tests(values: Mapping[str, Numbers], seed: int = 0) -> list[PairedTest]:
    """Every pair of ways, each with one value a seed in the same order.  name → (S,)

    The null hypothesis is that a seed's two values might as well be swapped (Fisher's randomisation test of paired
    differences), which supposes no distribution; few seeds are enumerated. Of one seed, or of equal values, p is 1.
    """
    pairs = list(itertools.combinations(values, 2))
    found = [_paired(np.asarray(values[a]) - np.asarray(values[b]), seed) for a, b in pairs]
    corrected = holm([p for _, p in found])
    return [
        PairedTest(a, b, difference, p, adjusted, _verdict(difference, adjusted))
        for (a, b), (difference, p), adjusted in zip(pairs, found, corrected, strict=True)
    ]


def ratio_of_pairs(scores: Scores, other_scores: Scores) -> Verdict:
    """Whether scores are better or worse than others that were each taken with the same random numbers.

    A two-sided t-test of the log-ratios at 5 %. Two networks that draw from the same noise err alike, so their ratio is
    known far better than either score. What has no partner, or no logarithm, is left out.
    """
    pairs = zip(scores, other_scores, strict=False)
    logs = np.array([np.log(one / other) for one, other in pairs if one and other and one > 0 and other > 0])
    if not len(logs):
        return Verdict("unmeasured", None, None, None, "no pair of scores is there")
    mean, ratio = float(logs.mean()), float(np.exp(logs.mean()))
    if len(logs) < MIN_REPLICAS:
        why = f"the ratio is {ratio:.3f}, and how much of it is noise takes {MIN_REPLICAS} pairs of scores to tell"
        return Verdict("unmeasured", ratio, None, None, why)
    width = critical_value(0.05, len(logs) - 1) * float(logs.std(ddof=1)) / len(logs) ** 0.5
    low, high = float(np.exp(mean - width)), float(np.exp(mean + width))
    answer: Answer = "better" if high < 1 else "worse" if low > 1 else "inconclusive"
    why = f"the ratio is {ratio:.3f}, between {low:.3f} and {high:.3f} at 95 % by {len(logs)} pairs of scores"
    return Verdict(answer, ratio, low, high, why)


def _verdict(difference: float, p: float) -> Literal["a", "b", "undecided"]:
    if p >= LEVEL:
        return "undecided"
    return "a" if difference < 0 else "b"


def _paired(differences: Numbers, seed: int) -> tuple[float, float]:
    mean = float(differences.mean())
    if len(differences) < 2 or not differences.any():
        return mean, 1.0
    found = permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, rng=np.random.default_rng(seed)
    )
    return mean, float(found.pvalue)


def holm(p_values: list[float]) -> list[float]:
    """P-values adjusted for their number, step down (Holm 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted, running = [1.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = running
    return adjusted


def expected_best(values: Numbers, draws: int, given: float = np.inf) -> Numbers:
    """The expected least value after each of `draws` draws without replacement, and a value that is `given`.

    Of N values in ascending order the i-th is the least of k drawn with probability C(N - i - 1, k - 1) / C(N, k): the
    hypergeometric expectation of random search.  (N,) → (draws + 1,), the first before any draw.

    Raises:
        ValueError: more draws than values, or no value before the first draw.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if draws > len(ordered):
        raise ValueError(f"{draws} draws of {len(ordered)} values")
    if not np.isfinite(given):
        raise ValueError("without a value that is given nothing is known before the first draw")
    capped, found = np.minimum(ordered, given), [given]
    none_below = np.ones(len(ordered) + 1)  # that no value before the i-th is among those drawn
    for drawn in range(draws):
        left = len(ordered) - drawn
        remaining = np.arange(len(ordered), -1, -1) - drawn  # values from the i-th on that are not drawn yet
        none_below = none_below * np.clip(remaining, 0, None) / left
        found.append(float((capped * (none_below[:-1] - none_below[1:])).sum()))
    return np.array(found)
