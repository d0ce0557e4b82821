"""What the generator of DiffusionNAG makes of a search: specs within the budget, guided by the ranks of what was tried.

The score of a space of specs is exact (`diffusion.nag.closed_form`), so nothing is trained but the predictor of ranks,
in a second, from the trials of one protocol; failed and pruned ones are the worst. With fewer than five scores nothing
guides but the cost. Nothing here asks a memory: what was tried is given.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from torch import Tensor

from diffusion.nag.closed_form import product_score
from diffusion.nag.generator import CostBand, Generator
from diffusion.nag.graphs import quantise
from diffusion.nag.guidance import GoodRank, Guide
from diffusion.nag.predictor import FEWEST, PredictorTraining, RankEnsemble, fit_ranks
from diffusion.nag.threads import one_thread
from diffusion.nag.unets import UNetGraphs, unet_graphs
from diffusion.networks import spellings_in
from diffusion.space import SearchSpace
from diffusion.spec import Rows, UNetSpec
from tools.context import SearchLimits
from tools.gates.facts import Mask
from tools.suggestions import WITHOUT_SCORE, Trial

STEPS = 30  # levels of a sampler, for candidates of which the best is chosen
PREDICTOR_STEPS = 150
POOL = 100  # graphs a round, as in the paper's Algorithm 1


class Generated(NamedTuple):
    """A spec that was generated; without a predictor its rank is not known."""

    spec: UNetSpec
    rank: float | None  # predicted, among what was tried: 1 is the best, 0 the worst
    sd: float | None  # between the members of the predictor

    @property
    def said(self) -> str | None:
        """``0.93 ± 0.04``"""
        return None if self.rank is None else f"{self.rank:.2f} ± {self.sd:.2f}"


class Proposals(NamedTuple):
    """What was generated in a round and may be proposed, in the order in which it came."""

    rows: Rows  # (N, 2 + 2 stages)
    predictor: RankEnsemble | None
    graphs: UNetGraphs

    @property
    def ranked(self) -> list[Generated]:
        """With the predicted ranks, the highest first."""
        return ranked(self.graphs, self.predictor, [UNetSpec.from_row(row) for row in self.rows])


def proposals(
    limits: SearchLimits, trials: Iterable[Trial], allowed: Callable[[Rows], Mask], rng: np.random.Generator
) -> Proposals:
    """The candidates of a round: generated once, less what may not be proposed."""
    band, seed = band_of(limits), int(rng.integers(2**31))
    predictor = learned(band, trials, seed)
    rows = generated(band, predictor, POOL, seed)
    return Proposals(rows[allowed(rows)], predictor, band.graphs)


def generator_of(graphs: UNetGraphs, steps: int = STEPS) -> Generator[UNetSpec]:
    """The generator of a space, by its exact score."""
    return Generator(graphs, product_score(graphs).score, steps=steps)


def band_of(limits: SearchLimits) -> CostBand:
    """The budget of a search as what a generator keeps to."""
    settings = limits.protocol.settings
    return CostBand(
        graphs_of(limits.space),
        most=limits.budget_macs,
        family=settings.family,
        resolution=settings.resolution,
        channels=settings.channels,
        convention=limits.convention,
    )


@lru_cache(maxsize=4)
def graphs_of(space: SearchSpace) -> UNetGraphs:
    """A search space as graphs, made once."""
    return unet_graphs(space)


@lru_cache(maxsize=4)
def costs_of(band: CostBand) -> list[Guide]:
    """What steers into a band; its tables of costs are made once."""
    return band.guides()


def learned(band: CostBand, trials: Iterable[Trial], seed: int) -> RankEnsemble | None:
    """The predictor of the trials that are over, each in all its spellings; None with fewer than five scores."""
    graphs, over = band.graphs, [trial for trial in trials if trial.state in ("scored", *WITHOUT_SCORE)]
    spelled = ((spellings_in(graphs.space, trial.spec, band.family), trial.score) for trial in over)
    known = [(specs, score) for specs, score in spelled if specs]
    if sum(score is not None for _, score in known) < FEWEST:
        return None
    with one_thread():
        return fit_ranks(
            product_score(graphs),
            [onehot(graphs, specs) for specs, _ in known],
            np.array([-np.inf if score is None else -score for _, score in known]),
            allowed=graphs.allowed,
            training=PredictorTraining(steps=PREDICTOR_STEPS, seed=seed),
        )


def onehot(graphs: UNetGraphs, specs: Iterable[UNetSpec]) -> Tensor:
    """Specs of a space as one-hot graphs.  → (B,N,F) bool"""
    return quantise(graphs.encode(specs))


def guides_of(band: CostBand, predictor: RankEnsemble | None) -> list[Guide]:
    """To be within the band, and to rank high where that can be told."""
    return [*costs_of(band), *([] if predictor is None else [Guide(GoodRank(predictor))])]


def generated(band: CostBand, predictor: RankEnsemble | None, count: int, seed: int) -> Rows:
    """So many raw specs, guided; those that are none are left out and each is there once.  → (≤ count, 2 + 2 stages)"""
    with one_thread():
        raw = generator_of(band.graphs).raw(count, seed, guides_of(band, predictor))
    specs = [spec.row for spec in dict.fromkeys(raw) if spec is not None]
    return np.array(specs, dtype=np.int64).reshape(-1, 2 + 2 * band.graphs.space.stages)


def ranked(graphs: UNetGraphs, predictor: RankEnsemble | None, specs: Sequence[UNetSpec]) -> list[Generated]:
    """The specs with what is predicted of them, the highest rank first; in their order where nothing is."""
    if predictor is None or not specs:
        return [Generated(spec, None, None) for spec in specs]
    ranks = predictor.ranks_of(onehot(graphs, specs)).double().numpy()
    means, sds = ranks.mean(axis=0), ranks.std(axis=0, ddof=1)
    order = np.argsort(-means, kind="stable")
    return [Generated(specs[place], float(means[place]), float(sds[place])) for place in order]
