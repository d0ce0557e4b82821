"""What a network will score, before it is trained: a Gaussian process over networks, from the scores that are known.

A network is a point: its widths, its blocks and its head width in doublings, its attention as zeros and ones, so that
two spellings of one network are one point and a step of one is a doubling, or a changed attention. The function is the
*log* of the score (lower is better; training again multiplies a score, see `diffusion.statistics.noise`) less its mean:
Matérn 5/2 with one length scale, plus white noise. One length a number is overconfident below 50 networks; one for all
was the best calibrated of those tried (docs/log.md). The formulas are those of Rasmussen & Williams, *Gaussian
Processes for Machine Learning* (2006), by the numbers given there.

Scores are of one protocol; which they are is for the caller to know. Nothing is trained or stored here, and no torch is
imported.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtr, ndtri

from diffusion.networks import Networks
from diffusion.spec import stages_of

Floats = NDArray[np.float64]

FEWEST = 5  # scores; below them three numbers of a kernel and a mean are guesses
LEVEL = 0.9  # of the intervals that people and models are shown
BOUNDS = ((0.05, 50.0), (0.3, 100.0), (1e-3, 1.0))  # of signal, length and noise
CHUNK = 512  # rows of a prediction that stay in the processor's cache with 100 columns
DIGITS = 12  # of an improvement: what differs less is rounding, and the first of equals is taken
SMALLEST_SCORE = 1e-6  # what is at or below zero by rounding is taken for this


class Kernel(NamedTuple):
    """How scores of two networks go together; variances are in units of the variance of the log scores."""

    signal: float  # variance by what the networks differ in
    length: float  # in doublings: networks closer than it score alike
    noise: float  # variance by training again


class Prediction(NamedTuple):
    """Log scores as they would be measured, noise included.  Each (N,)"""

    mean: Floats
    std: Floats

    def interval(self, level: float = LEVEL) -> tuple[Floats, Floats]:
        """Between which log scores a measurement lies with this probability."""
        reach = float(ndtri((1 + level) / 2)) * self.std
        return self.mean - reach, self.mean + reach


class LeftOut(NamedTuple):
    """Each measured log score, and its prediction by the others at the same kernel.  Each (N,)"""

    log_scores: Floats
    prediction: Prediction

    def coverage(self, level: float = LEVEL) -> float:
        """The share of scores inside their interval; of a calibrated surrogate about the level."""
        low, high = self.prediction.interval(level)
        return float(((low <= self.log_scores) & (self.log_scores <= high)).mean())


def features(networks: Networks) -> Floats:
    """Networks as points; a distance of one is a doubling of one number or one changed attention.  (N, k) → (N, k)"""
    points = np.asarray(networks, dtype=np.float64).copy()
    stages = stages_of(networks)
    for sizes in (slice(0, 1 + stages), slice(1 + 2 * stages, None)):  # all but attention; no head width is 0
        points[:, sizes] = np.log2(np.maximum(points[:, sizes], 1))
    return points


def log_score(score: float | None) -> float | None:
    """The logarithm of a score, or None where a training gave none that is finite."""
    return math.log(max(score, SMALLEST_SCORE)) if score is not None and math.isfinite(score) else None


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A fitted Gaussian process. What was fitted stays when trials under way are believed (`believing`)."""

    points: Floats  # (N, k)
    values: Floats  # log scores less `centre`, over `spread`  (N,)
    measured: NDArray[np.bool_]  # which of them are scores: neither failures nor believed  (N,)
    kernel: Kernel
    centre: float
    spread: float

    @classmethod
    def fit(
        cls, networks: Networks, log_scores: Sequence[float | None], kernel: Kernel | None = None
    ) -> "Surrogate | None":
        """The surrogate of networks and their log scores; None with fewer than five scores.

        A network whose training failed (None) counts as bad as the worst score. Without a `kernel` the one of the
        largest marginal likelihood is taken. The order of the networks changes nothing.
        """
        measured = np.array([score is not None for score in log_scores], dtype=np.bool_)
        if measured.sum() < FEWEST:
            return None
        found = np.array([np.nan if score is None else score for score in log_scores], dtype=np.float64)
        found[~measured] = found[measured].max()
        order = np.lexsort((found, *np.asarray(networks).T))  # sums in another order round differently
        points, found, measured = features(networks)[order], found[order], measured[order]
        centre, spread = float(found.mean()), float(found.std()) or 1.0
        values = (found - centre) / spread
        return cls(points, values, measured, kernel or _likeliest(points, values), centre, spread)

    def believing(self, networks: Networks) -> "Surrogate":
        """The same, had these networks already scored what is predicted: no mean moves, and they are asked no more."""
        if not len(networks):
            return self
        points = features(networks)
        means = (self.predict(networks).mean - self.centre) / self.spread
        return replace(
            self,
            points=np.vstack([self.points, points]),
            values=np.concatenate([self.values, means]),
            measured=np.concatenate([self.measured, np.zeros(len(points), dtype=np.bool_)]),
        )

    def predict(self, networks: Networks) -> Prediction:
        """Log scores of networks as they would be measured.  (R & W 2.25, 2.26)"""
        return self._prediction(*self._posterior(features(networks)))

    def _prediction(self, mean: Floats, variance: Floats) -> Prediction:
        """Of the function in units of the spread, with the noise of a measurement."""
        std = np.sqrt(np.maximum(variance, 0) + self.kernel.noise)
        return Prediction(self.centre + self.spread * mean, self.spread * std)

    def improvement(self, prediction: Prediction) -> Floats:
        """How far below the best of the known networks a log score is expected to come, 0 where it does not.  (N,)

        E max(best - f, 0) of the noise-free f; the best is the lowest mean, since a low score may be luck.
        """
        noise = self.kernel.noise * self.spread**2
        std = np.sqrt(np.maximum(prediction.std**2 - noise, 1e-12))
        gap = self.centre + self.spread * self._means.min() - prediction.mean
        density = np.exp(-0.5 * (gap / std) ** 2) / math.sqrt(2 * math.pi)
        return np.asarray(gap * ndtr(gap / std) + std * density)

    def most_promising(self, networks: Networks, count: int) -> tuple[list[int], Prediction, Floats]:
        """The places of the largest expected improvements, and their predictions and improvements.  Each (count,)

        Exactly those of all: what one known network leaves of a variance is never less than what all of them leave,
        so that most networks are ruled out by their mean and the known one nearest to them.
        """
        points = features(networks)
        mean, nearest = np.empty(len(points)), np.empty(len(points))
        for chunk in _chunks(len(points)):
            covariance = self._covariance(points[chunk], self.points)
            mean[chunk], nearest[chunk] = covariance @ self._weights, covariance.max(axis=1)
        at_most = self.kernel.signal - nearest**2 / (self.kernel.signal + self.kernel.noise)
        bounds = self.improvement(self._prediction(mean, at_most))
        order = np.argsort(-bounds, kind="stable")
        gains = np.full(len(points), -np.inf)
        for chunk in _chunks(len(points)):
            looked_at = order[chunk]
            if chunk.start >= count and np.partition(gains, -count)[-count] > bounds[looked_at[0]]:
                break
            exact = self.improvement(self._prediction(*self._posterior(points[looked_at])))
            gains[looked_at] = np.round(exact, DIGITS)
        places = np.argsort(-gains, kind="stable")[:count]
        return places.tolist(), self._prediction(*self._posterior(points[places])), gains[places]

    def left_one_out(self) -> LeftOut:
        """Each score predicted by all others, in closed form.  (R & W 5.12)"""
        inverse = cho_solve((self._lower, True), np.eye(len(self.points)))
        variance = 1 / np.diag(inverse)
        mean = self.values - (inverse @ self.values) * variance
        scaled = Prediction(self.centre + self.spread * mean, self.spread * np.sqrt(variance))
        kept = Prediction(scaled.mean[self.measured], scaled.std[self.measured])
        return LeftOut(self.centre + self.spread * self.values[self.measured], kept)

    def difference(self, networks: Networks, from_network: Networks) -> Prediction:
        """What changes in the log score, without noise, from one network (1, k) to each of others (N, k).

        Both are uncertain together: what is not known of one is mostly not known of its neighbour either.
        """
        both = np.vstack([features(from_network), features(networks)])
        whitened = solve_triangular(self._lower, self._covariance(self.points, both), lower=True)
        joint = self._covariance(both, both) - whitened.T @ whitened
        mean = self._covariance(both, self.points) @ self._weights
        variance = joint[0, 0] + np.diag(joint)[1:] - 2 * joint[0, 1:]
        return Prediction(self.spread * (mean[1:] - mean[0]), self.spread * np.sqrt(np.maximum(variance, 0)))

    @property
    def noise_std(self) -> float:
        """The standard deviation of a log score by training again, as the fit has it."""
        return self.spread * math.sqrt(self.kernel.noise)

    def correlation(self, distance: float) -> float:
        """Of the scores of two networks so far apart, noise and all else aside."""
        return float(_matern(np.array([(distance / self.kernel.length) ** 2]))[0])

    def _posterior(self, points: Floats) -> tuple[Floats, Floats]:
        """Means and variances of the function, in units of the spread; chunk by chunk, for the cache's sake."""
        inverse = solve_triangular(self._lower, np.eye(len(self.points)), lower=True)
        mean, variance = np.empty(len(points)), np.empty(len(points))
        for chunk in _chunks(len(points)):
            covariance = self._covariance(points[chunk], self.points)
            mean[chunk] = covariance @ self._weights
            whitened = covariance @ inverse.T
            variance[chunk] = self.kernel.signal - np.einsum("ij,ij->i", whitened, whitened)
        return mean, variance

    def _covariance(self, one: Floats, other: Floats) -> Floats:
        """Of the function, in units of the spread.  (N, k), (M, k) → (N, M)"""
        squared = _squared_distances(one, other)
        squared /= self.kernel.length**2
        return _matern(squared) * self.kernel.signal

    @cached_property
    def _lower(self) -> Floats:
        noise = self.kernel.noise * np.eye(len(self.points))
        return np.asarray(np.linalg.cholesky(self._covariance(self.points, self.points) + noise), dtype=np.float64)

    @cached_property
    def _weights(self) -> Floats:
        return np.asarray(cho_solve((self._lower, True), self.values))

    @cached_property
    def _means(self) -> Floats:
        return self._covariance(self.points, self.points) @ self._weights


def _matern(squared: Floats) -> Floats:
    """The correlation of Matérn 5/2 at squared distances in units of the length, which it overwrites.  (R & W 4.17)"""
    squared *= 5
    distance = np.sqrt(squared)
    squared /= 3
    squared += distance
    squared += 1
    squared *= np.exp(np.negative(distance, out=distance), out=distance)
    return squared


def _squared_distances(one: Floats, other: Floats) -> Floats:
    """(N, k), (M, k) → (N, M)"""
    found = one @ (-2 * other.T)
    found += (one**2).sum(axis=1)[:, None]
    found += (other**2).sum(axis=1)
    np.maximum(found, 0, out=found)  # rounding
    return found


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


def _likeliest(points: Floats, values: Floats) -> Kernel:
    """The kernel of the largest marginal likelihood, climbed from one start by its gradient.  (R & W 5.8, 5.9)"""
    apart, identity = np.sqrt(_squared_distances(points, points)), np.eye(len(points))

    def loss(logs: Floats) -> tuple[float, Floats]:
        signal, length, noise = np.exp(logs)
        scaled = math.sqrt(5) * apart / length
        decay = signal * np.exp(-scaled)
        covariance = (1 + scaled + scaled**2 / 3) * decay
        lower = np.linalg.cholesky(covariance + noise * identity)
        inverse = cho_solve((lower, True), identity)
        weights = inverse @ values
        uphill = inverse - np.outer(weights, weights)
        slopes = (covariance, scaled**2 * (1 + scaled) / 3 * decay, noise * identity)  # by the logarithm of each
        value = 0.5 * values @ weights + np.log(np.diag(lower)).sum()
        return float(value), np.array([0.5 * (uphill * slope).sum() for slope in slopes])

    start = Kernel(1.0, math.sqrt(points.shape[1]), 0.05)  # random networks are about so far apart
    found = minimize(loss, np.log(start), jac=True, method="L-BFGS-B", bounds=np.log(BOUNDS))
    return Kernel(*np.exp(found.x).tolist())
