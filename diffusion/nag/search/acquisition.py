"""What evaluating an architecture is worth: acquisition functions over what is believed of its score.

Scores are higher-is-better here, in any unit: ranks, log-scores, accuracies. What is believed of C architectures is a
mean and a deviation of each, taken as normal and independent. Every function gives a value per architecture, of which
the highest is evaluated next. Improvement is taken in logarithms, as far in the tail an expected improvement rounds
to zero for all architectures alike, and the choice among them would be one of storage order.

Nothing is trained, chosen or evaluated here, and no torch is imported.
"""

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr, ndtr

Floats = NDArray[np.float64]
Acquisition = Literal["pi", "ei", "ucb", "its"]
ACQUISITIONS: tuple[Acquisition, ...] = get_args(Acquisition)

EXPLORE = 0.5  # deviations that UCB adds to a mean, as in BANANAS (White et al. 2021, arXiv 1910.11858)
LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)
LOG_ROOT_HALF_PI = 0.5 * math.log(math.pi / 2)
TAIL = -1.0  # below it φ(z) + z Φ(z) loses digits by cancellation
FAR_TAIL = -1e6  # below it 1 + z Φ(z)/φ(z) is 1/z² to within rounding


class Belief(NamedTuple):
    """What is believed of C architectures' scores: normal, independent."""

    mean: Floats  # (C,)
    deviation: Floats  # (C,), above zero

    @classmethod
    def of_members(cls, scores: Floats, floor: float) -> "Belief":
        """The mean and the spread of an ensemble's opinions, the spread never below a floor.  (M, C) → C

        Members that agree by having seen the same rows know no more for it. Without a floor the spread nearly vanishes
        beside those rows, improvement becomes certain or impossible, and PI and EI become one greedy choice.

        Raises:
            ValueError: fewer than two members, or a floor that is not above zero.
        """
        if len(scores) < 2 or not floor > 0:
            raise ValueError(f"{len(scores)} members and a floor of {floor}: it takes two, and a floor above zero")
        return cls(scores.mean(axis=0), np.maximum(scores.std(axis=0, ddof=1), floor))

    def gain(self, best: float) -> Floats:
        """By how many deviations the mean is above the best score.  → (C,)"""
        return (self.mean - best) / self.deviation


def log_probability_of_improvement(belief: Belief, best: float) -> Floats:
    """PI: log Φ(z), z the gain in deviations.  → (C,)"""
    return np.asarray(log_ndtr(belief.gain(best)), dtype=np.float64)


def log_expected_improvement(belief: Belief, best: float) -> Floats:
    """EI: log σ + log(φ(z) + z Φ(z)), z the gain in deviations.  → (C,)

    Below -1 by the scaled complementary error function (Ament et al. 2023, arXiv 2310.20708, Equation 9): with
    Φ(z)/φ(z) = (π/2)^½ erfcx(-z/√2), log(φ + zΦ) = log φ(z) + log(1 + zΦ/φ), and 1 + zΦ/φ → 1/z² far below.
    """
    gain = belief.gain(best)
    near, tail = np.maximum(gain, TAIL), np.minimum(gain, TAIL)
    density = np.exp(-0.5 * near**2 - LOG_ROOT_TWO_PI)
    mills = np.log(erfcx(-tail / math.sqrt(2)) * -tail) + LOG_ROOT_HALF_PI  # below zero, about -1/z²
    with np.errstate(divide="ignore"):  # the branch that is not taken
        left = np.where(tail > FAR_TAIL, np.log(-np.expm1(mills)), -2 * np.log(-tail))
    far = -0.5 * tail**2 - LOG_ROOT_TWO_PI + left
    return np.log(belief.deviation) + np.where(gain > TAIL, np.log(density + near * ndtr(near)), far)


def upper_confidence_bound(belief: Belief, explore: float = EXPLORE) -> Floats:
    """UCB: the mean and some deviations.  → (C,)"""
    return belief.mean + explore * belief.deviation


def independent_thompson(belief: Belief, rng: np.random.Generator) -> Floats:
    """ITS: a score drawn for each architecture on its own (White et al. 2021, Section 4).  → (C,)"""
    return rng.normal(belief.mean, belief.deviation)


def acquire(name: Acquisition, belief: Belief, best: float, rng: np.random.Generator) -> Floats:
    """What evaluating each architecture is worth by the function of that name.  → (C,)

    Args:
        name: of the function.
        belief: of the candidates' scores.
        best: the highest score so far, on the belief's scale; PI and EI ask for more than that.
        rng: what ITS draws from; the others draw nothing.
    """
    match name:
        case "pi":
            return log_probability_of_improvement(belief, best)
        case "ei":
            return log_expected_improvement(belief, best)
        case "ucb":
            return upper_confidence_bound(belief)
        case "its":
            return independent_thompson(belief, rng)
