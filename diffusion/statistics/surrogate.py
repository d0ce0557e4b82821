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
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.special import ndtr, ndtri

from diffusion.networks import Networks
from diffusion.spec import stages_of

Floats = NDArray[np.float64]

FEWEST = 5  # scores; below them three numbers of a kernel and a mean are guesses
LEVEL = 0.9  # of the intervals that people and models are shown
CHUNK = 512  # rows of a prediction that stay in the processor's cache with 100 columns
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
        mean, variance = self._posterior(features(networks))
        return Prediction(self.centre + self.spread * mean, self.spread * np.sqrt(variance + self.kernel.noise))

    def improvement(self, prediction: Prediction) -> Floats:
        """How far below the best of the known networks a log score is expected to come, 0 where it does not.  (N,)

        E max(best - f, 0) of the noise-free f; the best is the lowest mean, since a low score may be luck.
        """
        noise = self.kernel.noise * self.spread**2
        std = np.sqrt(np.maximum(prediction.std**2 - noise, 1e-12))
        gap = self.centre + self.spread * self._means.min() - prediction.mean
        density = np.exp(-0.5 * (gap / std) ** 2) / math.sqrt(2 * math.pi)
        return np.asarray(gap * ndtr(gap / std) + std * density)

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
        return float(matern(np.array([distance / self.kernel.length]))[0])

    def _posterior(self, points: Floats) -> tuple[Floats, Floats]:
        """Means and variances of the function, in units of the spread; chunk by chunk, for the cache's sake."""
        inverse = solve_triangular(self._lower, np.eye(len(self.points)), lower=True)
        mean, variance = np.empty(len(points)), np.empty(len(points))
        for chunk in _chunks(len(points)):
            covariance = self._covariance(points[chunk], self.points)
            mean[chunk] = covariance @ self._weights
            whitened = covariance @ inverse.T
            variance[chunk] = self.kernel.signal - np.einsum("ij,ij->i", whitened, whitened)
        return mean, np.maximum(variance, 0)

    def _covariance(self, one: Floats, other: Floats) -> Floats:
        squared = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
        return self.kernel.signal * matern(np.sqrt(np.maximum(squared, 0)) / self.kernel.length)

    @cached_property
    def _lower(self) -> Floats:
        noise = self.kernel.noise * np.eye(len(self.points))
        return np.linalg.cholesky(self._covariance(self.points, self.points) + noise)

    @cached_property
    def _weights(self) -> Floats:
        return np.asarray(cho_solve((self._lower, True), self.values))

    @cached_property
    def _means(self) -> Floats:
        return self._covariance(self.points, self.points) @ self._weights


def matern(distance: Floats) -> Floats:
    """The correlation of Matérn 5/2 at distances in units of the length scale.  (R & W 4.17)"""
    scaled = math.sqrt(5) * distance
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


def _likeliest(points: Floats, values: Floats) -> Kernel:
    """The kernel of the largest marginal likelihood, from one start.  (R & W 5.8)"""
    from sklearn.exceptions import ConvergenceWarning  # a second that nothing but a fit needs
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    length = math.sqrt(points.shape[1])  # random networks are about so far apart
    signal = ConstantKernel(1.0, (0.05, 50.0)) * Matern(length, (0.3, 100.0), nu=2.5)
    process = GaussianProcessRegressor(signal + WhiteKernel(0.05, (1e-3, 1.0)), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a number at its bound is an answer
        found = np.exp(process.fit(points, values).kernel_.theta)
    return Kernel(*map(float, found))
