"""What a comparison found, as models: figures with intervals over seeds, and a paired test of every pair."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from agent.compare.measure import Played, Truth, chance, played, truth_of
from agent.compare.plan import Comparison
from agent.report.results import Result
from diffusion.errors import UserError
from diffusion.statistics.paired import Interval, mean_interval, mean_intervals, paired_tests

MARKS = (10, 20, 40, 80, 160)  # evaluations at which searchers are held against each other
BEST_SHARES = (0.01, 0.05)
POINTS = 60  # of a curve over device-seconds

Numbers = NDArray[np.float64]


class Mean(Result):
    """A mean over seeds."""

    mean: float
    """over seeds"""
    low: float | None
    """lower end of its 95 % bootstrap interval; `null` of a single seed"""
    high: float | None
    """upper end"""

    @classmethod
    def of(cls, values: Numbers) -> "Mean":
        """Of one value a seed."""
        found: Interval = mean_interval(values)
        return cls(mean=found.mean, low=found.low, high=found.high)


class Reached(Result):
    """How soon one of the best networks was really tried."""

    share: float
    """0.01 for the best hundredth of the networks"""
    networks: int
    """how many those are"""
    reached: int
    """searches that tried one"""
    evaluations: float | None
    """median of the evaluations that those searches needed"""


class Curve(Result):
    """Regret over evaluations or device-seconds."""

    at: list[float]
    """evaluations or device-seconds; the latter without the baseline's replicas"""
    mean: list[float]
    """the regret there, over seeds"""
    low: list[float | None]
    """lower ends of its 95 % bootstrap intervals"""
    high: list[float | None]
    """upper ends"""


class SearcherFigures(Result):
    """One searcher."""

    searcher: str
    """its name"""
    seeds: int
    """searches of it that are over"""
    regret: dict[int, Mean]
    """after 10, 20, 40, … evaluations and at the end: how much worse the best network tried is than the best of all,
    0.1 for a tenth"""
    reached: list[Reached]
    """how soon it tried one of the best 1 % and 5 %"""
    recommended: Mean
    """regret of what it recommends at the end, the best by the scores that it was shown"""
    diversity: Mean
    """mean distance of two of its specs; a doubling of a number or a changed attention counts one"""
    refusals: float
    """refused proposals a search"""
    tokens: float
    """tokens a search that models read and wrote"""
    own_seconds: Mean
    """wall-clock of its rounds, in which nothing is trained on a table"""
    by_evaluations: Curve
    """regret after each evaluation"""
    by_device_seconds: Curve
    """regret over device-seconds, the table's where results are looked up"""


class Pair(Result):
    """Whether one searcher is better than another, over the same seeds."""

    evaluations: int
    """the regret after so many is compared"""
    a: str
    """a searcher"""
    b: str
    """another one"""
    difference: float
    """mean of a's regret less b's; below zero a is better"""
    p: float
    """of the two-sided permutation test of paired differences"""
    p_corrected: float
    """corrected for the number of pairs by Holm's method"""
    better: str | None
    """who is, if that is below 0.05"""


class Compared(Result):
    """What a comparison found."""

    comparison: str
    """its name"""
    bench: str | None
    """the table in which results were looked up; `null` if networks were trained"""
    is_noise_free: bool
    """whether regret is judged by means over the table's seeds"""
    networks: int
    """how many networks are judged"""
    rounds: int
    """evaluations of each search after the baseline's"""
    memory: str
    """what proposers were told of: `none`, `search` or `all`"""
    seeds: list[int]
    """of which every searcher's search is over: these are judged"""
    waiting: int
    """searches that are not over"""
    searchers: list[SearcherFigures]
    """least regret at the end first"""
    pairs: list[Pair]
    """every two searchers at every number of evaluations that `regret` names"""
    chance: dict[int, float] | None
    """by evaluations the expected regret of drawing networks other than the baseline without replacement, or `null`
    without a table"""


def compared(db: Database, comparison: Comparison) -> Compared:
    """The figures of the searches that are over.

    Raises:
        UserError: no seed has a search of every searcher.
    """
    searches = played(db, comparison)
    whole = _whole_seeds(comparison, searches)
    if not whole:
        raise UserError(f"'{comparison.name}': no seed has a finished search of every searcher yet")
    truth = truth_of(comparison, searches)
    by_searcher = {name: [each for each in searches if each.searcher == name and each.seed in whole]
                   for name in comparison.searchers}  # fmt: skip
    marks = [*(mark for mark in MARKS if mark < comparison.rounds), comparison.rounds]
    figures = [_figures(name, found, truth, comparison.rounds, marks) for name, found in by_searcher.items()]
    expected = chance(truth, searches[0].specs[0], comparison.rounds) if truth.is_noise_free else None
    return Compared(
        comparison=comparison.name,
        bench=comparison.config.search.bench,
        is_noise_free=truth.is_noise_free,
        networks=len(truth.values),
        rounds=comparison.rounds,
        memory=comparison.config.search.memory,
        seeds=whole,
        waiting=sum(1 for _ in comparison) - len(searches),
        searchers=sorted(figures, key=lambda each: each.regret[marks[-1]].mean),
        pairs=[pair for mark in marks for pair in _pairs(by_searcher, truth, mark)],
        chance=None if expected is None else {mark: float(expected[min(mark, len(expected) - 1)]) for mark in marks},
    )


def _whole_seeds(comparison: Comparison, searches: Sequence[Played]) -> list[int]:
    """The seeds of which every searcher's search is over."""
    have = {(each.searcher, each.seed) for each in searches}
    return [seed for seed in comparison.seeds if all((name, seed) in have for name in comparison.searchers)]


def _figures(name: str, found: Sequence[Played], truth: Truth, rounds: int, marks: Sequence[int]) -> SearcherFigures:
    regrets = np.array([_at_evaluations(each.regret(truth), rounds) for each in found])  # (seeds, rounds + 1)
    return SearcherFigures(
        searcher=name,
        seeds=len(found),
        regret={mark: Mean.of(regrets[:, mark]) for mark in marks},
        reached=[_reached(found, truth, share) for share in BEST_SHARES],
        recommended=Mean.of(np.array([truth.of(each.recommended) / truth.best - 1 for each in found])),
        diversity=Mean.of(np.array([each.diversity for each in found])),
        refusals=float(np.mean([each.refusals for each in found])),
        tokens=float(np.mean([each.input_tokens + each.output_tokens for each in found])),
        own_seconds=Mean.of(np.array([each.own_seconds for each in found])),
        by_evaluations=_curve(np.arange(rounds + 1, dtype=np.float64), regrets),
        by_device_seconds=_over_seconds(found, truth),
    )


def _at_evaluations(regret: Numbers, rounds: int) -> Numbers:
    """One value for each evaluation; a search that ended earlier keeps its last.  (rounds + 1,)"""
    return np.asarray(np.concatenate([regret, np.full(max(0, rounds + 1 - len(regret)), regret[-1])])[: rounds + 1])


def _over_seconds(found: Sequence[Played], truth: Truth) -> Curve:
    """The regret of what was over by then, on a grid that every search reaches."""
    first, last = max(each.device_seconds[0] for each in found), min(each.device_seconds[-1] for each in found)
    grid = np.linspace(first, max(first, last), POINTS)
    places = [np.searchsorted(each.device_seconds, grid, side="right") - 1 for each in found]
    return _curve(grid, np.array([each.regret(truth)[place] for each, place in zip(found, places, strict=True)]))


def _curve(at: Numbers, regrets: Numbers) -> Curve:
    means = mean_intervals(regrets)
    return Curve(
        at=[float(value) for value in at],
        mean=[each.mean for each in means],
        low=[each.low for each in means],
        high=[each.high for each in means],
    )


def _reached(found: Sequence[Played], truth: Truth, share: float) -> Reached:
    wanted = truth.among_the_best(share)
    needed = [count for each in found if (count := each.until(wanted, truth.family)) is not None]
    median = float(np.median(needed)) if needed else None
    return Reached(share=share, networks=len(wanted), reached=len(needed), evaluations=median)


def _pairs(by_searcher: dict[str, list[Played]], truth: Truth, mark: int) -> list[Pair]:
    regrets = {
        name: np.array([_at_evaluations(each.regret(truth), mark)[mark] for each in found])
        for name, found in by_searcher.items()
    }
    return [
        Pair(
            evaluations=mark,
            a=test.a,
            b=test.b,
            difference=test.difference,
            p=test.p,
            p_corrected=test.p_corrected,
            better={"a": test.a, "b": test.b, "undecided": None}[test.verdict],
        )
        for test in paired_tests(regrets)
    ]
