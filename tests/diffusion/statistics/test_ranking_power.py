import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats

from diffusion.statistics.ranking import Numbers, Statistic
from diffusion.statistics.ranking_power import (
    MOST,
    Triple,
    expected,
    needed_n,
    plan,
    plan_for,
    power_of,
    underlying,
    variance,
)

ALL: tuple[Statistic, ...] = ("spearman", "kendall", "pearson")


def studies(triple: Triple, count: int, number: int, seed: int) -> Numbers:
    """Truths and two proxies each of normal data with these correlations.  (3, number, count)"""
    a, b, between = triple
    root = np.linalg.cholesky([[1, a, b], [a, 1, between], [b, between, 1]])
    found: Numbers = np.einsum("ij,jkn->ikn", root, np.random.default_rng(seed).normal(size=(3, number, count)))
    return found


def product_moment(x: Numbers, y: Numbers) -> Numbers:
    """Pearson's correlation of each row.  2 × (number, count) → (number,)"""
    x, y = (side - side.mean(axis=1, keepdims=True) for side in (x, y))
    found: Numbers = (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return found


def tau(x: Numbers, y: Numbers) -> Numbers:
    """Kendall's, without ties.  2 × (number, count) → (number,)"""
    total = np.zeros(len(x))
    for lag in range(1, x.shape[1]):
        total += (np.sign(x[:, lag:] - x[:, :-lag]) * np.sign(y[:, lag:] - y[:, :-lag])).sum(axis=1)
    return total / math.comb(x.shape[1], 2)


def rho(x: Numbers, y: Numbers) -> Numbers:
    """Spearman's.  2 × (number, count) → (number,)"""
    return product_moment(*(scipy.stats.rankdata(side, axis=1) for side in (x, y)))


MEASURES: dict[Statistic, Callable[[Numbers, Numbers], Numbers]] = {
    "pearson": product_moment,
    "kendall": tau,
    "spearman": rho,
}


def z_test(statistic: Statistic, r_a: Any, r_b: Any, r_ab: Any, count: int) -> Any:
    """How many standard errors two correlations of `count` architectures with one truth are apart; `r_ab` is theirs."""
    triple = underlying(statistic, r_a, r_b, r_ab)
    return (np.arctanh(r_a) - np.arctanh(r_b)) / np.sqrt(variance(triple, statistic, count))


def z_values(statistic: Statistic, triple: Triple, count: int, number: int, seed: int) -> Numbers:
    """The test's z in simulated studies.  (number,)"""
    truth, a, b = studies(triple, count, number, seed)
    edge = 1 - 1e-9  # a perfect order has no z
    r_a, r_b, r_ab = (MEASURES[statistic](x, y).clip(-edge, edge) for x, y in ((a, truth), (b, truth), (a, b)))
    found: Numbers = z_test(statistic, r_a, r_b, r_ab, count)
    return found


def check_power(statistic: Statistic, triple: Triple, number: int, seed: int = 0) -> None:
    """The planned number of architectures has 80 % power in simulated studies, to two points."""
    count = plan_for(triple, statistic).n
    assert count is not None
    found = np.mean(np.abs(z_values(statistic, triple, count, number, seed)) > 1.959964)
    assert found == pytest.approx(0.80, abs=0.02), count


class TestPublished:
    @pytest.mark.parametrize(
        ("r_a", "r_b", "between", "count", "z"),
        [
            (0.3, 0.4, 0.5, 100, -1.0730),  # Silver, Hittner & May 2006, "A FORTRAN 77 program" (depcor): Dunn & Clark
            (0.5, 0.6, 0.7, 100, -1.5838851123),  # R's cocor, of DeCoster's spreadsheet: Dunn & Clark
        ],
    )
    def test_z_is_dunn_and_clark_s(self, r_a: float, r_b: float, between: float, count: int, z: float) -> None:
        digits = 1e-4 if abs(z) < 1.5 else 1e-10
        assert z_test("pearson", r_a, r_b, between, count) == pytest.approx(z, abs=digits / 2)

    def test_steiger_s_and_meng_s_own_examples_differ_little(self) -> None:
        # Steiger 1980, p. 249, case A, pools the two; Meng, Rosenthal & Rubin 1992 average their squares, with n = 15
        assert z_test("pearson", 0.4, 0.5, 0.1, 103) == pytest.approx(-0.8913, rel=0.005)
        assert z_test("pearson", 0.63, -0.03, -0.19, 15) == pytest.approx(1.68, rel=0.05)

    def test_pwrss_needs_as_many(self) -> None:
        # R's pwrss, power.z.twocors.steiger(rho12 = 0.35, rho13 = 0.45, rho23 = 0.05): n = 1138, power 0.80001
        triple = Triple(0.35, 0.45, 0.05)
        assert plan_for(triple, "pearson").n == 1138
        assert power_of(triple, "pearson", 1138) == pytest.approx(0.80001327, abs=0.0005)


class TestErrors:
    def test_of_independent_scores_the_variance_of_tau_is_kendall_s(self) -> None:
        # Kendall 1938: 2 (2n + 5) / 9n (n - 1) each, and no covariance
        for count in (5, 20, 300):
            one = 2 * (2 * count + 5) / (9 * count * (count - 1))
            assert variance(Triple(0, 0, 0), "kendall", count) == pytest.approx(2 * one)

    @pytest.mark.parametrize("rho", [-0.7, 0.3, 0.9, 0.995])
    def test_of_one_proxy_with_truth_the_variance_of_tau_is_esscher_s(self, rho: float) -> None:
        # Esscher 1924; the second proxy is independent of all, so that the covariance is zero
        count, tau = 24, 2 / math.pi * math.asin(rho)
        bracket = 1 - tau**2 + 2 * (count - 2) * (1 / 9 - (2 / math.pi * math.asin(rho / 2)) ** 2)
        one, other = 2 / (count * (count - 1)) * bracket / (1 - tau**2) ** 2, 2 * 53 / (9 * 24 * 23)
        assert variance(Triple(rho, 0.0, 0.0), "kendall", count) == pytest.approx(one + other, rel=1e-9)

    def test_equal_proxies_have_no_difference_to_vary(self) -> None:
        for rho in (0.0, 0.5, 0.97):
            assert variance(Triple(rho, rho, 1.0), "kendall", 24) == pytest.approx(0, abs=1e-12)
            assert variance(Triple(rho, rho, 1.0), "pearson", 24) == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize("statistic", ALL)
    @pytest.mark.parametrize("triple", [Triple(0.9, 0.6, 0.7), Triple(0.5, 0.3, -0.2), Triple(0.97, 0.95, 0.95)])
    def test_simulated_differences_vary_as_much(self, statistic: Statistic, triple: Triple) -> None:
        count, number = 80, 3000
        truth, a, b = studies(triple, count, number, seed=1)
        z_a, z_b = (np.arctanh(MEASURES[statistic](side, truth)) for side in (a, b))
        # of 3,000 studies the variance is good to 2.6 %; Bonett & Wright's is up to 8 % too large
        close = 0.08 if statistic == "kendall" else 0.12
        assert variance(triple, statistic, count) == pytest.approx(float(np.var(z_a - z_b)), rel=close)

    @pytest.mark.parametrize("rho", [-0.5, 0.3, 0.9])
    def test_expected_values_are_those_of_theory(self, rho: float) -> None:
        sign = 2 / math.pi * math.asin(rho)
        assert expected("kendall", rho, 7) == pytest.approx(sign)
        assert expected("spearman", rho, 2) == pytest.approx(sign)  # two are in order or not, as for Kendall's
        assert expected("spearman", rho, 10**9) == pytest.approx(expected("spearman", rho, None))
        truth, a, _ = studies(Triple(rho, 0.0, 0.0), 8, 20_000, seed=2)
        for statistic in ("spearman", "kendall"):
            found = MEASURES[statistic](a, truth).mean()
            assert found == pytest.approx(expected(statistic, rho, 8), abs=0.009)  # 3 standard errors of 0.4/√20,000

    @pytest.mark.parametrize("statistic", ALL)
    def test_observed_correlations_lead_back_to_those_of_normal_data(self, statistic: Statistic) -> None:
        triple = Triple(0.9, 0.6, 0.7)
        r_a, r_b, r_ab = (expected(statistic, rho, None) for rho in triple)
        assert underlying(statistic, r_a, r_b, r_ab) == pytest.approx(triple)
        z = (math.atanh(r_a) - math.atanh(r_b)) / math.sqrt(variance(triple, statistic, 24))
        assert z_test(statistic, r_a, r_b, r_ab, 24) == pytest.approx(z)
        at_nine = (expected(statistic, rho, 9) for rho in triple)
        assert underlying(statistic, *at_nine, 9) == pytest.approx(triple)


class TestPower:
    @pytest.mark.parametrize(
        ("statistic", "triple"),
        [
            ("pearson", Triple(0.97, 0.93, 0.95)),  # 34 architectures
            ("pearson", Triple(0.9, 0.8, 0.8)),  # 63
            ("spearman", Triple(0.97, 0.93, 0.95)),  # 57
            ("kendall", Triple(0.97, 0.93, 0.95)),  # 54
            ("kendall", Triple(0.9, 0.8, 0.8)),  # 81
        ],
    )
    def test_the_planned_number_has_80_percent_power(self, statistic: Statistic, triple: Triple) -> None:
        check_power(statistic, triple, 6000)

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    @pytest.mark.parametrize("statistic", ALL)
    @pytest.mark.parametrize(
        "triple",
        [Triple(0.6, 0.4, 0.0), Triple(0.8, 0.7, 0.6), Triple(0.95, 0.92, 0.9), Triple(0.98, 0.97, 0.97)],
    )
    def test_the_planned_number_has_80_percent_power_from_weak_to_strong(
        self, statistic: Statistic, triple: Triple
    ) -> None:
        check_power(statistic, triple, 15_000, seed=3)

    @pytest.mark.parametrize("statistic", ALL)
    def test_equal_proxies_are_told_apart_in_one_study_of_twenty(self, statistic: Statistic) -> None:
        found = np.mean(np.abs(z_values(statistic, Triple(0.9, 0.9, 0.8), 50, 6000, seed=4)) > 1.959964)
        assert found == pytest.approx(0.05, abs=0.012)

    @pytest.mark.parametrize("statistic", ALL)
    def test_more_is_needed_for_less_for_surer_and_for_less_alike(self, statistic: Statistic) -> None:
        def n(triple: Triple, **options: Any) -> int:
            return plan_for(triple, statistic, **options).n or MOST

        base = n(Triple(0.9, 0.8, 0.8))
        assert base == n(Triple(0.8, 0.9, 0.8))
        assert n(Triple(0.9, 0.85, 0.8)) > base > n(Triple(0.9, 0.7, 0.8))
        assert n(Triple(0.9, 0.8, 0.7)) > base > n(Triple(0.9, 0.8, 0.9))
        assert n(Triple(0.9, 0.8, 0.8), power=0.9) > base > n(Triple(0.9, 0.8, 0.8), alpha=0.1)
        assert power_of(Triple(0.9, 0.8, 0.8), statistic, base) >= 0.8
        assert power_of(Triple(0.9, 0.8, 0.8), statistic, base - 1) < 0.8


class TestPlan:
    @pytest.mark.parametrize("statistic", ALL)
    def test_planted_correlations_are_seen_through_the_data(self, statistic: Statistic) -> None:
        triple = Triple(0.9, 0.7, 0.75)
        truth, a, b = studies(triple, 1500, 1, seed=5)[:, 0]
        if statistic != "pearson":  # rank measures see through any monotone change
            truth, a, b = np.exp(3 * truth), a**3, np.arctan(b)
        found, true = needed_n(a, b, truth, statistic=statistic), plan_for(triple, statistic).n
        assert found == pytest.approx(true, rel=0.2) and found == needed_n(b, a, truth, statistic=statistic)

    def test_the_bias_of_spearman_s_at_the_observed_size_is_made_good(self) -> None:
        truth, a, b = studies(Triple(0.95, 0.8, 0.85), 12, 1, seed=6)
        observed = [float(rho(x, y)[0]) for x, y in ((a, truth), (b, truth), (a, b))]
        found = needed_n(a[0], b[0], truth[0], statistic="spearman")
        assert found == plan_for(underlying("spearman", *observed, 12), "spearman").n
        assert found != plan_for(underlying("spearman", *observed), "spearman").n

    def test_a_plan_is_a_sentence(self) -> None:
        truth, a, b = studies(Triple(0.9, 0.6, 0.7), 30, 1, seed=7)[:, 0]
        found = plan(a, b, truth, power=0.9)
        assert found.n is not None and found.n == needed_n(a, b, truth, power=0.9)
        assert found.why == f"{found.n} architectures tell kendall's correlations apart with a power of 90%"

    def test_where_no_number_is_enough_the_reason_is_named(self) -> None:
        truth, a, b = studies(Triple(0.9, 0.6, 0.7), 30, 1, seed=8)[:, 0]
        assert plan(a, np.exp(a), truth) == (
            None,
            "kendall's correlations are equal, and no number of architectures tells them apart",
        )
        assert plan(truth, b, truth, statistic="pearson") == (
            None,
            "pearson's correlation is perfect in one of the two, and has no error to plan with",
        )
        assert plan(a, [2.0] * 30, truth) == (None, "kendall's correlation is undefined where one side is constant")
        assert MOST < (plan_for(Triple(0.9, 0.895, 0.8), "kendall", most=10**6).n or 0) < 10**6
        enough = needed_n(a, b, truth)
        assert enough is not None and needed_n(a, b, truth, most=enough) == enough
        assert plan(a, b, truth, most=enough - 1) == (
            None,
            f"it takes more than {enough - 1} architectures to tell kendall's correlations apart",
        )

    def test_failed_trials_and_ties_are_as_in_the_correlations(self) -> None:
        truth, a, b = studies(Triple(0.9, 0.3, 0.4), 20, 1, seed=9)[:, 0]
        some: list[Any] = [None, None, *a[2:]]
        assert needed_n(some, b, truth) == needed_n([99, 99, *a[2:]], b, truth)
        assert needed_n(some, b, truth, statistic="pearson") == needed_n(a[2:], b[2:], truth[2:], statistic="pearson")
        assert needed_n([*a, 1], [*b, 1], [*truth, None]) == needed_n(a, b, truth)

    def test_rank_correlations_that_do_not_fit_together_are_planned_with_all_the_same(self) -> None:
        assert math.isfinite(z_test("kendall", 0.9, 0.2, 0.9, 24))  # sin(π/2 · 0.9), …: no normal data have these three
        assert math.isfinite(z_test("spearman", 0.95, 0.1, 0.95, 24))

    def test_bad_input_is_one_sentence(self) -> None:
        with pytest.raises(ValueError, match=r"^4 usable architectures are too few"):
            needed_n([1, 2, 3, 4], [1, 2, 4, 3], [1, 2, 3, 4])
        for power, alpha in ((1.0, 0.05), (0.8, 0.0), (0.8, 0.9)):
            with pytest.raises(ValueError, match=r"cannot be planned; it takes 0 < alpha < power < 1$"):
                plan_for(Triple(0.9, 0.8, 0.8), "kendall", power, alpha)
