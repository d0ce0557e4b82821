"""Generating architectures: unconditionally or guided, counted as DiffusionNAG counts, and delivered within limits.

    validity    share of what is generated that is an architecture
    uniqueness  share of the valid that is left when each counts once
    novelty     share of the valid that was not in the training set

The published numbers are those of Zhang et al. 2019 (D-VAE), Section 5. What is *raw* is as it came; what is
*delivered* is valid, each once, not known before, and within the limits, whatever was raw.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffusion.cost.closed_form import Convention, costs
from diffusion.errors import UserError
from diffusion.nag.closed_form import product_score
from diffusion.nag.graphs import GraphSpace, quantise
from diffusion.nag.guidance import CAP, CostBetween, Guide, guided
from diffusion.nag.sde import Process, Score, sample
from diffusion.nag.unets import ExpectedCost, UNetGraphs
from diffusion.settings import Family
from diffusion.spec import Rows, UNetSpec
from diffusion.streams import generator
from diffusion.units import format_size

A = TypeVar("A")
BAND_SCALE = 3.0  # 91 % of raw specs in the band [0.8 B, B] at 6.06G; 1 gives 75 %
BARREN_BATCHES = 5  # that bring nothing new within the limits; then there is nothing to be had
FEWEST_OF_A_BATCH = 100  # a batch of few costs about as much


@dataclass(frozen=True)
class Quality:
    """How good raw samples are, as shares from 0 to 1."""

    count: int
    validity: float
    uniqueness: float
    novelty: float


@dataclass(frozen=True)
class Generator(Generic[A]):
    """A score of a space, and how it is sampled."""

    space: GraphSpace[A]
    score: Score
    process: Process = field(default_factory=Process)
    steps: int = 100
    corrections: int = 1
    cap: float = CAP

    def graphs(self, count: int, seed: int, guides: Sequence[Guide] = ()) -> Tensor:
        """Raw one-hot graphs, valid or not.  → (count, N, F) bool"""
        score = guided(self.score, guides, self.cap) if guides else self.score
        found = sample(
            score,
            (count, self.space.nodes, self.space.columns),
            generator(seed, "generate"),
            process=self.process,
            steps=self.steps,
            corrections=self.corrections,
        )
        return quantise(found)

    def raw(self, count: int, seed: int, guides: Sequence[Guide] = ()) -> list[A | None]:
        """Raw architectures, None for a graph that is none."""
        return self.space.decode(self.graphs(count, seed, guides), self.space.id)

    def deliver(
        self,
        count: int,
        seed: int,
        guides: Sequence[Guide] = (),
        *,
        fits: Callable[[list[A]], NDArray[np.bool_]] | None = None,
        known: Collection[A] = frozenset(),
    ) -> list[A]:
        """Architectures that keep the limits, each once and none known, in the order in which they came.

        Args:
            count: how many are wanted; fewer come where no more are found.
            seed: of the noise.
            guides: what they are wanted to have.
            fits: which of many keep the limits; without it all do.
            known: what is not to come again.
        """
        found: dict[A, None] = {}
        barren = batch = 0
        while len(found) < count and barren < BARREN_BATCHES:
            raw = self.raw(max(count - len(found), FEWEST_OF_A_BATCH), seed + batch, guides)
            new = [each for each in dict.fromkeys(raw) if each is not None and each not in found and each not in known]
            kept = new if fits is None or not new else [each for each, fit in zip(new, fits(new), strict=True) if fit]
            found.update(dict.fromkeys(kept))
            barren, batch = (0 if kept else barren + 1), batch + 1
        return list(found)[:count]


def quality(raw: Sequence[A | None], training_set: Collection[A]) -> Quality:
    """Validity, uniqueness and novelty of raw architectures; the shares of nothing are 0."""
    valid = [each for each in raw if each is not None]
    of_valid = max(len(valid), 1)
    return Quality(
        count=len(raw),
        validity=len(valid) / max(len(raw), 1),
        uniqueness=len(set(valid)) / of_valid,
        novelty=sum(each not in training_set for each in valid) / of_valid,
    )


@dataclass(frozen=True)
class CostBand:
    """Limits of what a spec may cost: at most a budget, at least something and at most so many parameters if asked."""

    graphs: UNetGraphs
    most: int  # multiply-accumulates
    least: int = 0
    most_params: int | None = None
    family: Family = "ddpm"
    resolution: int = 32
    channels: int = 3
    convention: Convention = "paper"

    def __post_init__(self) -> None:
        """Refuse what no spec of the space meets; raises `UserError`."""
        space = self.graphs.space
        smallest, largest = space.smallest, space.largest
        rows = np.array([smallest.row, largest.row])
        (macs, most_macs), params = self._macs(rows).tolist(), int(self._params(rows)[0])
        least = f"is met by no spec: the smallest spec of the space {self.graphs.name}, {smallest}, has"
        if self.most < macs:
            raise UserError(f"'{format_size(self.most)}' {least} {format_size(macs)} MACs")
        if self.most_params is not None and self.most_params < params:
            raise UserError(f"'{format_size(self.most_params)}' {least} {format_size(params)} parameters")
        if most_macs < self.least:
            most = f"the largest spec of the space {self.graphs.name}, {largest}, has {format_size(most_macs)}"
            raise UserError(f"'{format_size(self.least)}' is more than any spec costs: {most}; ask for less")
        if self.most < self.least:
            raise UserError(
                f"'{format_size(self.most)}' is below the {format_size(self.least)} MACs asked for at least"
            )

    def guides(self, scale: float = BAND_SCALE) -> list[Guide]:
        """What steers into the band; of a budget alone, below it."""
        found = [self._guide("macs", self._macs, self.most, self.least, scale)]
        if self.most_params is not None:
            found.append(self._guide("params", self._params, self.most_params, 0, scale))
        return found

    def _guide(
        self, name: str, cost: Callable[[Rows], NDArray[np.int64]], most: int, least: int, scale: float
    ) -> Guide:
        prior, expected = product_score(self.graphs), ExpectedCost(self.graphs, cost)
        return Guide(CostBetween(prior, expected, most=most, least=least, name=name), scale)

    def fits(self, specs: list[UNetSpec]) -> NDArray[np.bool_]:
        """Which specs keep the limits, counted exactly."""
        rows = np.array([spec.row for spec in specs], dtype=np.int64)
        macs = self._macs(rows)
        kept = (macs <= self.most) & (macs >= self.least)
        return np.asarray(kept if self.most_params is None else kept & (self._params(rows) <= self.most_params))

    def _macs(self, rows: Rows) -> NDArray[np.int64]:
        return costs(rows, self.family, self.resolution, self.channels).macs(self.convention)

    def _params(self, rows: Rows) -> NDArray[np.int64]:
        return costs(rows, self.family, self.resolution, self.channels).params
