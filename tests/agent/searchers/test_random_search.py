"""`random` against the closed form of the best rank among n of N drawn without replacement."""

from collections import Counter

import numpy as np
from played import SMALL, Played

from agent.searchers.random_search import Random
from diffusion.spec import UNetSpec

SEARCHES, DRAWN = 100, 20


def test_the_best_rank_is_as_the_hypergeometric_distribution_has_it() -> None:
    """Mean (N + 1)/(n + 1) and variance n(N + 1)(N − n)/((n + 1)²(n + 2)) of the least of n of 1, …, N."""
    everything = Played().rows
    ranks = {str(UNetSpec.from_row(row)): rank for rank, row in enumerate(everything, start=1)}
    best = [min(ranks[str(spec)] for spec in Played(seed=seed).play(Random, DRAWN)) for seed in range(SEARCHES)]
    size = len(everything)
    mean = (size + 1) / (DRAWN + 1)
    variance = DRAWN * (size + 1) * (size - DRAWN) / ((DRAWN + 1) ** 2 * (DRAWN + 2))
    assert abs(np.mean(best) - mean) < 3 * np.sqrt(variance / SEARCHES)


def test_each_feasible_network_is_as_likely_as_any_other() -> None:
    """A χ² statistic of 191 degrees of freedom is below 253 in 99.8 % of cases."""
    search, counts = Played(), Counter[str]()
    for seed in range(192 * 10):
        search.seed = seed
        proposal = Random().ask(search.seen(1))
        assert proposal is not None
        counts[str(proposal.spec)] += 1
    assert SMALL.size == len(search.rows) == 192
    assert sum((counts[str(UNetSpec.from_row(row))] - 10) ** 2 / 10 for row in search.rows) < 253


def test_where_nothing_is_left_nothing_is_proposed() -> None:
    search = Played()
    assert len(search.play(Random, 300)) == 192
    assert search.ask(Random(), 193) is None
