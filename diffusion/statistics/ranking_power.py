"""How many architectures would tell two proxies apart: the power of a test of two correlations with one truth.

The test compares two dependent correlations that share the truth: z = (atanh r_a - atanh r_b) / its standard error,
against the normal distribution (Dunn & Clark 1969, "Correlation coefficients measured on the same individuals"; Steiger
1980 pools the two r in the error, which differs little). Errors are those of normal data, which for Spearman's and
Kendall's need only be normal after some monotone change of each score:

- Pearson: variance 1 / (n - 3), covariance of Dunn & Clark.
- Spearman: variance (1 + r² / 2) / (n - 3) (Bonett & Wright 2000, "Sample size requirements for estimating Pearson,
  Kendall and Spearman correlations"), correlated as Pearson's; its bias at small n is Moran's (1948, "Rank
  correlation and product-moment correlation").
- Kendall: variance and covariance are exact, by the delta method on atanh (Esscher 1924, Plackett
  1954); the fixed 0.437 / (n - 4) of Fieller, Hartley & Pearson 1957 is up to a fifth off for correlations above 0.8.

In 4,000 simulated studies for each of ten cases and three statistics, the power at the planned number was within 2
points of the planned power from 50 architectures on, and up to 5 points above it at 17 to 43. Observed correlations are
uncertain themselves, and what is planned from a few dozen architectures tells no more than the order of magnitude.
Failed trials and ties are as in `diffusion.statistics.ranking`.
"""

import math
from bisect import bisect_left
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from diffusion.statistics.ranking import FEWEST, Scores, Statistic, correlation, enough, measured

MOST = 10_000  # architectures; nobody trains more of them
PERFECT = 1 - 1e-12  # and beyond, but for rounding
INSIDE = 0.999  # of the room that two correlations leave to the third; at its edge the differences have no variance
Number = Any  # a float, or an array with one entry a study

NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)  # smooth integrands: 32 nodes are good to 1e-12
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2  # from [-1, 1] to [0, 1]


class Needed(NamedTuple):
    """How many architectures it takes, or None; and why, in one sentence."""

    n: int | None
    why: str


class Triple(NamedTuple):
    """The correlations of normal data: of each proxy with the truth, and of the proxies with each other."""

    a: Number
    b: Number
    between: Number


def needed_n(
    proxy_a: Scores,
    proxy_b: Scores,
    truth: Scores,
    *,
    statistic: Statistic = "kendall",
    power: float = 0.8,
    alpha: float = 0.05,
    most: int = MOST,
) -> int | None:
    """The number of `plan`, without the sentence."""
    return plan(proxy_a, proxy_b, truth, statistic=statistic, power=power, alpha=alpha, most=most).n


def plan(
    proxy_a: Scores,
    proxy_b: Scores,
    truth: Scores,
    *,
    statistic: Statistic = "kendall",
    power: float = 0.8,
    alpha: float = 0.05,
    most: int = MOST,
) -> Needed:
    """How many architectures would tell two proxies apart, were their correlations truly those observed.

    Args:
        proxy_a: the cheap scores of one kind.  (N,)
        proxy_b: those of another, of the same architectures.  (N,)
        truth: the full scores.  (N,)
        statistic: which correlation is compared.
        power: with which probability they shall be told apart.
        alpha: the level of the two-sided test.
        most: more than this is None.

    Raises:
        ValueError: fewer than five usable architectures, sequences of unequal length, or a number out of range.
    """
    full, a, b = enough(measured(statistic, truth, proxy_a, proxy_b))
    once = np.ones((1, full.size))
    pairs = ((a, full), (b, full), (a, b))
    r_a, r_b, r_ab = (float(correlation(statistic, x, y, once)[0]) for x, y in pairs)
    if math.isnan(r_a + r_b):
        return Needed(None, f"{statistic}'s correlation is undefined where one side is constant")
    if max(abs(r_a), abs(r_b)) >= PERFECT:
        return Needed(None, f"{statistic}'s correlation is perfect in one of the two, and has no error to plan with")
    return plan_for(underlying(statistic, r_a, r_b, r_ab, full.size), statistic, power, alpha, most)


def plan_for(triple: Triple, statistic: Statistic, power: float = 0.8, alpha: float = 0.05, most: int = MOST) -> Needed:
    """How many architectures would tell two proxies apart whose normal correlations are known.

    Raises:
        ValueError: not 0 < alpha < power < 1.
    """
    if not 0 < alpha < power < 1:
        raise ValueError(f"a power of {power} at a level of {alpha} cannot be planned; it takes 0 < alpha < power < 1")
    if triple.a == triple.b:
        return Needed(None, f"{statistic}'s correlations are equal, and no number of architectures tells them apart")
    n = bisect_left(range(most + 1), power, lo=FEWEST, key=lambda count: power_of(triple, statistic, count, alpha))
    if n > most:
        return Needed(None, f"it takes more than {most:,} architectures to tell {statistic}'s correlations apart")
    return Needed(n, f"{n:,} architectures tell {statistic}'s correlations apart with a power of {power:.0%}")


def power_of(triple: Triple, statistic: Statistic, count: int, alpha: float = 0.05) -> float:
    """With which probability `count` architectures tell two proxies apart whose normal correlations are known."""
    gap = np.subtract(*(np.arctanh(expected(statistic, rho, count)) for rho in triple[:2]))
    shift, critical = gap / np.sqrt(variance(triple, statistic, count)), ndtri(1 - alpha / 2)
    return float(ndtr(shift - critical) + ndtr(-shift - critical))


def expected(statistic: Statistic, rho: Number, count: int | None) -> Number:
    """The correlation that `count` architectures have on average, None for all there are, where normal data have rho.

    Kendall's is 2/π · asin(ρ) at every n (Greiner 1909), Spearman's 6/π · asin(ρ/2) for all (Pearson 1907) and
    Moran's for n. Pearson's is taken for unbiased: what it lacks at n, ρ (1 - ρ²) / 2n, is much less than its error.
    """
    if statistic == "pearson":
        return rho
    if statistic == "kendall":
        return 2 / np.pi * np.arcsin(rho)
    if count is None:
        return 6 / np.pi * np.arcsin(rho / 2)
    return 6 / np.pi / (count + 1) * (np.arcsin(rho) + (count - 2) * np.arcsin(rho / 2))


def variance(triple: Triple, statistic: Statistic, count: int) -> Number:
    """The variance of atanh r_a - atanh r_b in studies of `count` architectures; sources at the head of the module."""
    if statistic == "kendall":
        return _kendall_variance(triple, count)
    spread_a, spread_b = (
        1 + (expected(statistic, rho, None) ** 2 / 2 if statistic == "spearman" else 0) for rho in triple[:2]
    )
    together = 2 * _dunn_clark(triple) * np.sqrt(spread_a * spread_b)
    return (spread_a + spread_b - together) / (count - 3)


def _dunn_clark(triple: Triple) -> Number:
    """How the two atanh r of one study correlate, for large samples (Pearson & Filon 1898; Dunn & Clark 1969)."""
    a, b, between = triple
    rest = 1 - a**2 - b**2
    return (between * rest - a * b * (rest - between**2) / 2) / ((1 - a**2) * (1 - b**2))


def _kendall_variance(triple: Triple, count: int) -> Number:
    """Var(t_a)/(1 - τ_a²)² and so on: atanh has the slope 1/(1 - τ²).

    Of two pairs of architectures, the same one has signs that agree by τ_ab, and two with one in common are alike by
    `_shared`; of n (n - 1) / 2 pairs each has 2 (n - 2) such neighbours.
    """
    taus = [expected("kendall", rho, None) for rho in triple]
    slopes = [1 / (1 - tau**2) for tau in taus[:2]]

    def covariance(first: int, second: int, between: Number, tau_between: Number) -> Number:
        same = tau_between - taus[first] * taus[second]
        neighbours = 2 * (count - 2) * _shared(triple[first], triple[second], between)
        return 2 / (count * (count - 1)) * (same + neighbours) * slopes[first] * slopes[second]

    return covariance(0, 0, 1, 1) + covariance(1, 1, 1, 1) - 2 * covariance(0, 1, triple.between, taus[2])


def _shared(a: Number, b: Number, between: Number) -> Number:
    """The covariance of sign(x₁-x₂)·sign(y₁-y₂) and sign(x₁-x₃)·sign(w₁-w₃): x the truth, y and w the proxies.

    The four differences are normal. The two of one pair correlate by a or b, those across by 1/2, b/2, a/2 and
    between/2. Were those across zero, the products would be independent; Plackett's identity (1954, "A reduction
    formula for normal multivariate integrals") gives what each adds while all grow from 0 to t = 1 in step:

        d E[s₁s₂s₃s₄] / dρᵢⱼ = 2/π · (1 - ρᵢⱼ²)^(-1/2) · 2/π · asin(ρₖₗ given that i and j are zero)

    For y = w it is 1/9 - (2/π · asin(a/2))², Esscher's.
    """
    a, b, between = (np.asarray(rho, float)[..., None] for rho in (a, b, between))
    half = NODES / 2
    x_x, x_w, y_x, y_w = half, half * b, half * a, half * between  # what correlates across, on its way
    terms = (
        (1, x_x, _given(y_w, (a, y_x), (x_w, b), x_x)),
        (b, x_w, _given(y_x, (a, y_w), (x_x, b), x_w)),
        (a, y_x, _given(x_w, (a, x_x), (y_w, b), y_x)),
        (between, y_w, _given(x_x, (a, x_w), (y_x, b), y_w)),
    )
    added = sum(end / 2 / np.sqrt(1 - now**2) * np.arcsin(rest) for end, now, rest in terms)
    return 4 / np.pi**2 * (WEIGHTS * added).sum(axis=-1)


def _given(rho: Number, first: tuple[Number, Number], second: tuple[Number, Number], given: Number) -> Number:
    """The partial correlation of two: theirs, what each has with two others, and what these have with each other."""

    def explained(one: tuple[Number, Number], other: tuple[Number, Number]) -> Number:
        (i, j), (k, m) = one, other
        return (i * k + j * m - given * (i * m + j * k)) / (1 - given**2)

    left = (1 - explained(first, first)) * (1 - explained(second, second))
    return np.clip((rho - explained(first, second)) / np.sqrt(left), -1, 1)


def underlying(statistic: Statistic, r_a: Number, r_b: Number, r_ab: Number, count: int | None = None) -> Triple:
    """The correlations of normal data that have these on average, in studies of `count` architectures if given.

    Observed rank correlations need not fit together; the one between the proxies is moved to where they do.
    """
    a, b, between = (_inverse(statistic, r, count) for r in (r_a, r_b, r_ab))
    room = INSIDE * np.sqrt((1 - a**2) * (1 - b**2))
    return Triple(a, b, np.clip(between, a * b - room, a * b + room))


def _inverse(statistic: Statistic, r: Number, count: int | None) -> Number:
    """What `expected` makes r of; of arrays only without a count."""
    if statistic == "pearson":
        return r
    if statistic == "kendall":
        return np.sin(np.pi / 2 * r)
    if count is None:
        return 2 * np.sin(np.pi / 6 * r)
    inside = np.clip(r, -PERFECT, PERFECT)
    return brentq(lambda rho: expected(statistic, rho, count) - inside, -1, 1)
