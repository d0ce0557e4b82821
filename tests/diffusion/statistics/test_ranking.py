import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffusion.statistics.ranking import (
    Bootstrap,
    Estimate,
    Numbers,
    Scores,
    Statistic,
    correlation,
    correlations,
    cost_per_point,
    difference,
    regret,
    top_k_recall,
)

RANKS: tuple[Statistic, ...] = ("spearman", "kendall")
ALL: tuple[Statistic, ...] = (*RANKS, "pearson")
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be
TINY = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=5, max_size=25)  # full of ties
SECOND: dict[Statistic, Callable[[Numbers, Numbers], float]] = {
    "spearman": lambda a, b: float(scipy.stats.spearmanr(a, b).statistic),
    "kendall": lambda a, b: float(scipy.stats.kendalltau(a, b).statistic),
    "pearson": lambda a, b: float(scipy.stats.pearsonr(a, b).statistic),
}


def value(statistic: Statistic, proxy: Scores, truth: Scores) -> float | None:
    """The correlation alone."""
    found: Estimate | None = getattr(correlations(proxy, truth, resamples=20), statistic)
    return found and found.value


def study(count: int, rho: float, rng: np.random.Generator, proxies: int = 1) -> Numbers:
    """A truth and proxies that correlate with it by rho, normal.  (1 + P, N)"""
    truth, *noise = rng.normal(size=(1 + proxies, count))
    return np.array([truth, *(rho * truth + math.sqrt(1 - rho**2) * one for one in noise)])


def true_value(statistic: Statistic, rho: float, logarithmic: bool = False) -> float:
    """What normal data of correlation rho have, or their exponentials at half the size (Pearson alone differs)."""
    if statistic == "kendall":
        return 2 / math.pi * math.asin(rho)  # Greiner 1909
    if statistic == "spearman":
        return 6 / math.pi * math.asin(rho / 2)  # Pearson 1907
    return math.expm1(rho / 4) / math.expm1(1 / 4) if logarithmic else rho


class TestValues:
    def test_hollander_and_wolfe_s_tuna(self) -> None:
        # Hollander & Wolfe 1973, pp. 185 to 194; R's cor.test gives 0.5711816 and 0.4444444
        lightness = [44.4, 45.9, 41.9, 53.3, 44.7, 44.1, 50.7, 45.2, 60.1]
        panel = [2.6, 3.1, 2.5, 5.0, 3.6, 4.0, 5.2, 2.8, 3.8]
        assert value("pearson", lightness, panel) == pytest.approx(0.5711816, abs=5e-8)
        assert value("kendall", lightness, panel) == pytest.approx(16 / 36)
        assert value("spearman", lightness, panel) == pytest.approx(1 - 6 * 48 / (9 * 80))

    def test_the_encyclopedia_s_ten_people_before_the_television(self) -> None:
        # Wikipedia, "Spearman's rank correlation coefficient": d² sums to 194
        wits, hours = [106, 86, 100, 101, 99, 103, 97, 113, 112, 110], [7, 0, 27, 50, 28, 29, 20, 12, 6, 17]
        assert value("spearman", wits, hours) == pytest.approx(-29 / 165)

    def test_anscombe_s_first_set(self) -> None:
        # Anscombe 1973, "Graphs in statistical analysis"
        x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
        y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
        assert value("pearson", x, y) == pytest.approx(0.816, abs=5e-4)

    def test_ties_on_both_sides_as_spss_has_them(self) -> None:
        # 105 pairs, 30 tied in one, 34 in the other, 49 - 4 by order: 45/√(75 · 71), where SPSS prints 0.617
        optimism, exercise = [0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 1, 2, 1], [0] * 5 + [1] * 5 + [2] * 5
        assert value("kendall", optimism, exercise) == pytest.approx(45 / math.sqrt(75 * 71))

    def test_ties_by_hand(self) -> None:
        # ranks 1.5 1.5 3 4 5 and 1 2.5 4 2.5 5: 8 pairs agree, 1 does not, 1 is tied in one only; each side ties once
        proxy, truth = [1, 1, 2, 3, 4], [1, 2, 3, 2, 9]
        assert value("kendall", proxy, truth) == pytest.approx((7 - 1) / math.sqrt(9 * 9))
        # deviations -1.5 -1.5 0 1 2 and -2 -0.5 1 -0.5 2; squares 9.5 and 9.5
        assert value("spearman", proxy, truth) == pytest.approx((3 + 0.75 - 0.5 + 4) / 9.5)
        # deviations -1.2 -1.2 -0.2 0.8 1.8 and -2.4 -1.4 -0.4 -1.4 5.6
        products, squares = 2.88 + 1.68 + 0.08 - 1.12 + 10.08, (6.8, 41.2)
        assert value("pearson", proxy, truth) == pytest.approx(products / math.sqrt(squares[0] * squares[1]))

    @BUSY
    @given(TINY)
    def test_scipy_gives_the_same_values(self, pairs: list[tuple[int, int]]) -> None:
        proxy, truth = np.array(pairs, float).T
        for statistic in ALL:
            found = value(statistic, proxy, truth)
            if np.ptp(proxy) == 0 or np.ptp(truth) == 0:
                assert found is None
            else:
                assert found == pytest.approx(SECOND[statistic](proxy, truth), abs=1e-12)

    @BUSY
    @given(TINY, st.integers(0, 2**32))
    def test_a_resample_is_told_by_its_counts(self, pairs: list[tuple[int, int]], seed: int) -> None:
        proxy, truth = np.array(pairs, float).T
        counts = np.random.default_rng(seed).multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), size=3)
        for statistic in ALL:
            found = correlation(statistic, proxy, truth, counts.astype(float))
            for one, times in zip(found, counts, strict=True):
                a, b = np.repeat(proxy, times), np.repeat(truth, times)
                constant = np.ptp(a) == 0 or np.ptp(b) == 0
                assert math.isnan(one) if constant else one == pytest.approx(SECOND[statistic](a, b), abs=1e-12)

    def test_values_of_any_size_have_a_correlation(self) -> None:
        proxy, truth = np.array([1.0, 5.0, 2.0, 4.0, 3.0]), np.arange(5.0)
        for scale in (1e-200, 1e200):
            assert value("pearson", proxy * scale, truth / scale) == pytest.approx(value("pearson", proxy, truth))
        assert value("pearson", [0.1] * 7, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]) is None  # 7 × 0.1 is not 0.7

    @BUSY
    @given(TINY)
    def test_rank_measures_survive_any_monotone_change_and_turn_with_the_direction(
        self, pairs: list[tuple[int, int]]
    ) -> None:
        proxy, truth = np.array(pairs, float).T
        plain = correlations(proxy, truth, resamples=50)
        changed = correlations(np.exp(proxy), truth**3 - 7, resamples=50)
        turned = correlations(-proxy, truth, resamples=50)
        for statistic in RANKS:
            before, other = getattr(plain, statistic), getattr(turned, statistic)
            assert getattr(changed, statistic) == before  # the interval too
            assert other is before is None or other == pytest.approx((-before.value, -before.high, -before.low))


class TestFailures:
    TRUTH = (10.0, 12.0, 11.0, 15.0, 18.0, 14.0, 20.0)
    PROXY = (30.0, 36.0, 31.0, None, 41.0, 39.0, None)

    @pytest.mark.parametrize("failed", [None, math.nan, math.inf, -math.inf])
    def test_a_failed_proxy_is_the_worst_and_tied_by_rank_and_left_out_of_pearson(self, failed: float | None) -> None:
        found = correlations([failed if score is None else score for score in self.PROXY], self.TRUTH)
        worst = correlations([99.0 if score is None else score for score in self.PROXY], self.TRUTH)
        without = correlations([score for score in self.PROXY if score], [10.0, 12.0, 11.0, 18.0, 14.0])
        assert (found.spearman, found.kendall) == (worst.spearman, worst.kendall)
        assert found.pearson == without.pearson != worst.pearson
        assert (found.ranked, found.excluded, found.without_truth) == (7, 2, 0)

    @pytest.mark.parametrize("failed", [None, math.nan, math.inf])
    def test_an_architecture_without_a_truth_is_left_out_of_all_and_counted(self, failed: float | None) -> None:
        found = correlations([*self.PROXY, 1.0, None], [*self.TRUTH, failed, failed], resamples=99)
        assert found == correlations(self.PROXY, self.TRUTH, resamples=99)._replace(without_truth=2)

    def test_pearson_needs_five_values_of_both(self) -> None:
        found = correlations([*self.PROXY[:5], None, None], self.TRUTH)
        assert found.pearson is None and found.kendall is not None
        assert (found.ranked, found.excluded) == (7, 3)

    def test_a_proxy_that_always_failed_or_is_constant_has_no_correlation(self) -> None:
        for proxy, excluded in (([None] * 7, 7), ([3.0] * 7, 0)):
            assert correlations(proxy, self.TRUTH) == (None, None, None, 7, excluded, 0)
            assert difference(self.PROXY, proxy, self.TRUTH) is None

    def test_bad_input_is_one_sentence(self) -> None:
        few = r"^4 usable architectures are too few for a rank study; it takes 5$"
        with pytest.raises(ValueError, match=few):
            correlations([1, 2, 3, 4, 5], [1, 2, 3, 4, None])
        with pytest.raises(ValueError, match=few):
            difference([1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4])
        with pytest.raises(ValueError, match=few):
            difference([1, 2, 3, 4, 5, None], [None, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], "pearson")
        with pytest.raises(ValueError, match=r"^5 and 6 scores cannot be of the same architectures"):
            correlations([1] * 6, [1] * 5)
        for bad in ({"resamples": 0}, {"confidence": 0.0}, {"confidence": 1.0}):
            with pytest.raises(ValueError, match="give no interval; it takes one at least, and a confidence between"):
                correlations([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], **bad)


class TestIntervals:
    def test_for_a_mean_the_interval_is_student_s(self) -> None:
        # a bootstrap's means spread by s √((n - 1)/n) / √n, which the expansion makes good, with t for the normal
        values = scipy.stats.norm.ppf((np.arange(12) + 0.5) / 12)
        found = Bootstrap(200_000, 0, 0.95).estimate(lambda counts: counts @ values / 12, 12, limit=9)
        assert found is not None
        half = 2.200985 * values.std(ddof=1) / math.sqrt(12)  # the table's t for 11 degrees of freedom
        assert found == pytest.approx((0, -half, half), abs=0.02 * half)  # without √(12/11) it is 0.04 off

    @pytest.mark.parametrize("statistic", ALL)
    def test_a_plain_loop_over_drawn_indices_gives_the_same_interval(self, statistic: Statistic) -> None:
        truth, proxy = study(24, 0.8, np.random.default_rng(1))
        drawn = np.random.default_rng(2).integers(24, size=(1500, 24))
        values = [SECOND[statistic](proxy[index], truth[index]) for index in drawn]
        tail = scipy.stats.norm.cdf(-math.sqrt(24 / 23) * 2.068658)  # the table's t for 23 degrees of freedom
        found = getattr(correlations(proxy, truth, resamples=4000), statistic)
        # an end at the 2 % point of 1,500 is good to about 0.0036 of probability: 8 % of the distance to the centre
        assert found[1:] == pytest.approx(np.quantile(values, [tail, 1 - tail]), abs=0.04)

    def test_a_seed_gives_one_interval(self) -> None:
        truth, proxy = study(12, 0.5, np.random.default_rng(3))
        assert correlations(proxy, truth, seed=4) == correlations(proxy, truth, seed=4)
        ends = {correlations(proxy, truth, seed=seed).pearson for seed in range(5)}
        assert len(ends) == 5 and len({end.value for end in ends if end}) == 1

    def test_more_confidence_is_a_wider_interval(self) -> None:
        truth, proxy = study(20, 0.5, np.random.default_rng(4))
        ends = [correlations(proxy, truth, confidence=level).kendall for level in (0.5, 0.8, 0.95, 0.99)]
        widths = [end.high - end.low for end in ends if end]
        assert len(widths) == 4 and widths == sorted(widths) and widths[0] < widths[-1] / 2

    def test_an_interval_holds_its_value_however_narrow(self) -> None:
        for seed in range(20):
            truth, proxy = study(12, 0.9, np.random.default_rng(seed))
            found = correlations(proxy, truth, resamples=200, confidence=0.01)
            assert all(end and end.low <= end.value <= end.high for end in found[:3])

    def test_where_most_resamples_are_constant_nothing_is_known(self) -> None:
        # one odd score on each side, of different architectures: 1 - 2 · 0.8⁵ + 0.6⁵ = 42 % of resamples have both
        assert value("kendall", [1, 2, 1, 1, 1], [2, 1, 1, 1, 1]) == pytest.approx(-0.25)
        assert correlations([1, 2, 1, 1, 1], [2, 1, 1, 1, 1]).kendall == pytest.approx((-0.25, -1, 1))
        assert difference([1, 2, 1, 1, 1], [1, 1, 2, 1, 1], [2, 1, 1, 1, 1]) == (0, -2, 2)

    def test_a_resample_that_is_constant_is_passed_over(self) -> None:
        # one odd architecture on both sides: 1 - 0.8⁵ = 67 % of resamples have it, all with a correlation of 1
        assert correlations([2, 1, 1, 1, 1], [2, 1, 1, 1, 1]).pearson == (1, 1, 1)

    @pytest.mark.parametrize("count", [5, 10, 24, 40])
    def test_a_perfect_order_is_as_uncertain_as_one_with_a_swap_in_the_middle(self, count: int) -> None:
        truth, middle = np.arange(float(count)), count // 2 - 1
        swapped = truth.copy()
        swapped[[middle, middle + 1]] = swapped[[middle + 1, middle]]
        order = np.random.default_rng(5).permutation(count)
        found, near = (correlations(np.exp(truth[order] / 9), full[order]) for full in (truth, swapped))
        turned = correlations(-truth[order], truth[order])
        for statistic in RANKS:
            best, worst, low = getattr(found, statistic), getattr(turned, statistic), getattr(near, statistic).low
            assert best == (1, low, 1) and worst == (-1, -1, pytest.approx(-low)) and low < 1

    def test_a_shuffled_proxy_has_zero_in_its_interval(self) -> None:
        rng = np.random.default_rng(6)
        ends = [correlations(rng.permutation(np.arange(20.0)), np.arange(20.0), resamples=300) for _ in range(200)]
        for statistic in ALL:
            share = sum(getattr(end, statistic).low <= 0 <= getattr(end, statistic).high for end in ends) / 200
            assert share >= 0.91  # 0.95 less 2.6 of its standard errors

    @pytest.mark.parametrize(("count", "rho"), [(10, 0.9), (24, 0.6)])
    def test_intervals_hold_the_true_value_in_19_of_20_studies(self, count: int, rho: float) -> None:
        self.check_coverage(count, rho, studies=300, at_least=0.91)

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    @pytest.mark.parametrize("logarithmic", [False, True])
    @pytest.mark.parametrize("count", [10, 15, 24, 40])
    @pytest.mark.parametrize("rho", [0.0, 0.6, 0.9, 0.97])
    def test_intervals_hold_the_true_value_over_all_sizes(self, count: int, rho: float, logarithmic: bool) -> None:
        self.check_coverage(count, rho, 1000, 0.91, logarithmic)  # log-normal values cost Pearson's up to 2 points

    @staticmethod
    def check_coverage(count: int, rho: float, studies: int, at_least: float, logarithmic: bool = False) -> None:
        rng, held = np.random.default_rng(count), dict.fromkeys(ALL, 0)
        for seed in range(studies):
            truth, proxy = study(count, rho, rng)
            if logarithmic:
                truth, proxy = np.exp(truth / 2), np.exp(proxy / 2)
            found = correlations(proxy, truth, resamples=500, seed=seed)
            for statistic in ALL:
                end = getattr(found, statistic)
                held[statistic] += end.low <= true_value(statistic, rho, logarithmic) <= end.high
        assert {name: count / studies for name, count in held.items() if count / studies < at_least} == {}


class TestDifference:
    @pytest.mark.parametrize("statistic", ALL)
    def test_it_is_the_difference_of_the_two_values_and_turns_with_their_order(self, statistic: Statistic) -> None:
        truth, a, b = study(20, 0.7, np.random.default_rng(7), proxies=2)
        found, turned = difference(a, b, truth, statistic), difference(b, a, truth, statistic)
        assert found is not None and turned is not None
        assert found.value == pytest.approx(SECOND[statistic](a, truth) - SECOND[statistic](b, truth))
        assert turned == pytest.approx((-found.value, -found.high, -found.low))

    def test_both_are_measured_in_the_same_resamples(self) -> None:
        truth, a = study(20, 0.6, np.random.default_rng(8))
        assert difference(a, np.exp(a), truth) == (0, 0, 0)
        near = difference(a, a + 0.02 * np.random.default_rng(9).normal(size=20), truth)
        alone = correlations(a, truth).kendall
        assert near is not None and alone is not None
        assert near.high - near.low < 0.3 * (alone.high - alone.low)

    def test_a_better_proxy_is_told_from_a_worse(self) -> None:
        truth = np.random.default_rng(10).normal(size=40)
        noise = np.random.default_rng(11).normal(size=(2, 40))
        found = difference(truth + 0.1 * noise[0], truth + 2 * noise[1], truth)
        assert found is not None and found.low > 0

    def test_failures_are_as_in_correlations(self) -> None:
        truth, a, b = [1.0, 2, 3, 4, 5, 6, None], [1.0, 3, 2, 4, None, 6, 0], [2.0, 1, 3, None, 5, 6, 0]
        assert difference(a, b, truth) == difference([1, 3, 2, 4, 99, 6], [2, 1, 3, 99, 5, 6], truth[:6])
        truth, a, b = [*truth, 7, 8], [*a, 7, 9], [*b, 9, 7]
        few_a, few_b, few = ([side[index] for index in (0, 1, 2, 5, 7, 8)] for side in (a, b, truth))
        assert difference(a, b, truth, "pearson") == difference(few_a, few_b, few, "pearson")

    @pytest.mark.parametrize("statistic", ALL)
    def test_intervals_of_the_difference_hold_the_true_one(self, statistic: Statistic) -> None:
        rng, held = np.random.default_rng(12), 0
        for seed in range(300):
            truth, a, b = study(24, 0.9, rng, proxies=2)
            b = (b + rng.normal(size=24)) / math.sqrt(2)  # 0.9/√2 with the truth
            found = difference(a, b, truth, statistic, resamples=400, seed=seed)
            true = true_value(statistic, 0.9) - true_value(statistic, 0.9 / math.sqrt(2))
            held += found is not None and found.low <= true <= found.high
        assert held / 300 >= 0.90


class TestChoice:
    def test_recall_counts_the_truly_best_among_the_chosen(self) -> None:
        proxy, truth = [5, 1, 4, 2, 3, None], [50, 30, 40, 10, 60, 20]
        assert [top_k_recall(proxy, truth, k) for k in (1, 2, 3, 6)] == pytest.approx([0, 1 / 2, 2 / 3, 1])

    def test_of_the_tied_any_may_be_chosen(self) -> None:
        assert top_k_recall([1, 1, 1, 2], [1, 2, 3, 4], 1) == pytest.approx(1 / 3)
        assert top_k_recall([1, 2, 2, 2], [1, 2, 3, 4], 2) == pytest.approx((1 + 1 / 3) / 2)
        assert top_k_recall([1, None, math.nan, None], [1, 2, 3, 4], 2) == pytest.approx((1 + 1 / 3) / 2)
        assert regret([1, 1, 1, 2], [10, 12, 17, 5]) == pytest.approx((10 + 12 + 17) / 3 / 5 - 1)

    def test_whoever_is_truly_tied_with_the_best_is_as_good(self) -> None:
        assert top_k_recall([3, 1, 2], [7, 7, 7], 1) == 1
        assert top_k_recall([2, 3, 1, 4], [5, 6, 6, 7], 2) == 1
        assert regret([3, 1, 2], [7, 7, 7]) == 0

    def test_regret_is_relative_to_the_truly_best(self) -> None:
        proxy, truth = [3, 1, 2], [10, 15, 11]
        assert [regret(proxy, truth, k) for k in (1, 2, 3)] == pytest.approx([0.5, 0.1, 0])

    def test_without_a_truth_an_architecture_cannot_be_chosen(self) -> None:
        assert regret([1, 2, 3], [None, 20, 10]) == 1
        assert top_k_recall([1, 2, 3], [None, 10, 20], 1) == 1

    @BUSY
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), min_size=1, max_size=6), st.integers(1, 6))
    def test_all_orders_of_the_tied_give_the_same_mean(self, pairs: list[tuple[int, int]], k: int) -> None:
        k = min(k, len(pairs))
        proxy, truth = zip(*pairs, strict=True)
        best = sorted(truth)[k - 1]
        chosen = [
            [truth[index] for index in sorted(order, key=lambda index: proxy[index])[:k]]
            for order in itertools.permutations(range(len(pairs)))
        ]
        recall = np.mean([sum(one <= best for one in few) / k for few in chosen])
        assert top_k_recall(proxy, truth, k) == pytest.approx(recall)
        assert regret(proxy, truth, k) == pytest.approx(np.mean([min(few) for few in chosen]) / min(truth) - 1)

    def test_a_choice_that_cannot_be_is_one_sentence(self) -> None:
        for k in (0, 3):
            with pytest.raises(ValueError, match=f"^the best {k} of 2 architectures cannot be taken"):
                top_k_recall([1, 2, 3], [1, 2, None], k)
        with pytest.raises(ValueError, match=r"^a truth of -1 has no relative regret; all must be above 0$"):
            regret([1, 2], [-1, 2])

    def test_a_point_of_correlation_costs_its_share_and_none_can_be_had_below_zero(self) -> None:
        assert cost_per_point(4500, 0.9) == pytest.approx(50)
        assert cost_per_point(4500, 0.0) is cost_per_point(4500, -0.9) is cost_per_point(4500, math.nan) is None
