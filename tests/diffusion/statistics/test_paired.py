"""Intervals, paired tests and the expectation of random search, against enumeration and by hand."""

import itertools
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from diffusion.statistics.paired import (
    expected_best,
    holm,
    mean_interval,
    mean_intervals,
    paired_tests,
    ratio_of_pairs,
)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 9), st.data())
def test_the_expected_best_is_the_mean_over_all_draws(values: list[int], first: int, data: st.DataObject) -> None:
    draws = data.draw(st.integers(0, len(values)))
    expected = [
        fmean(min(first, *chosen) for chosen in itertools.combinations(values, count)) if count else first
        for count in range(draws + 1)
    ]
    assert expected_best(np.array(values, dtype=float), draws, first) == pytest.approx(expected)


def test_drawing_everything_finds_the_best() -> None:
    assert expected_best(np.arange(191.0), 191, 500.0)[-1] == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="5 draws of 4 values"):
        expected_best(np.arange(4.0), 5, 1.0)
    with pytest.raises(ValueError, match="nothing is known"):
        expected_best(np.arange(4.0), 1)


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.02, 0.02]) == pytest.approx([0.04, 0.04])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_a_few_seeds_are_enumerated() -> None:
    """Of five differences of one sign both corners of the 2^5 are as extreme: p = 2 / 32."""
    ways = {"one": np.array([1.0, 2, 3, 4, 5]), "other": np.array([2.0, 4, 6, 8, 10])}
    (found,) = paired_tests(ways)
    assert (found.a, found.b, found.difference, found.verdict) == ("one", "other", -3.0, "undecided")
    assert found.p == pytest.approx(2 / 32) == found.p_corrected


def test_equal_ways_are_not_told_apart_and_clear_ones_are() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=30)
    ways = {"good": base - 1 + 0.1 * rng.normal(size=30), "bad": base, "same": base}
    found = {(test.a, test.b): test for test in paired_tests(ways)}
    assert found["good", "bad"].verdict == "a" and found["good", "same"].verdict == "a"
    assert found["bad", "same"].p == 1.0 and found["bad", "same"].verdict == "undecided"
    turned = {(test.a, test.b): test for test in paired_tests({"bad": ways["bad"], "good": ways["good"]})}
    assert turned["bad", "good"].verdict == "b"


def test_the_test_is_wrong_as_seldom_as_it_says() -> None:
    """Of 300 comparisons of equals about 5 % are called; 99.9 % of binomials (300, .05) are below 28."""
    rng = np.random.default_rng(1)
    called = 0
    for _ in range(300):
        a, b = rng.exponential(size=(2, 8))
        called += paired_tests({"a": a, "b": b})[0].verdict != "undecided"
    assert called < 28


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_the_interval_holds_its_mean(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=30)
    found = mean_interval(values)
    assert found.low is not None and found.high is not None
    assert found.low < found.mean < found.high and found.mean == pytest.approx(values.mean())
    assert found == mean_interval(values)


def test_the_intervals_of_a_curve_are_nearly_those_of_each_of_its_points() -> None:
    values = np.random.default_rng(3).normal(size=(40, 5)) + np.arange(5)
    for found, column in zip(mean_intervals(values), values.T, strict=True):
        alone = mean_interval(column)
        assert alone.low is not None and alone.high is not None and found.low is not None and found.high is not None
        assert found.mean == pytest.approx(alone.mean)
        assert abs(found.low - alone.low) < 0.08 and abs(found.high - alone.high) < 0.08
    assert mean_intervals(values[:1])[2] == (values[0, 2], None, None)


def test_intervals_cover_what_they_should() -> None:
    """150 samples of 30 from a skewed distribution of mean 1: 95 % intervals hold it at least 85 % of the time."""
    rng = np.random.default_rng(2)
    held = [mean_interval(rng.exponential(size=30)) for _ in range(60)]
    assert np.mean([each.low <= 1 <= each.high for each in held if each.low is not None and each.high]) >= 0.85


def test_of_one_seed_there_is_no_interval() -> None:
    assert mean_interval(np.array([3.0])) == (3.0, None, None)
    assert mean_interval(np.array([3.0, 3.0])) == (3.0, 3.0, 3.0)
    assert mean_interval(np.array([3.0, 3.0, 4.0])).low is not None


def test_a_ratio_of_pairs_is_the_t_test_of_its_logarithms() -> None:
    ours, theirs = [1.1, 2.3, 3.1, 4.6], [1.0, 2.0, 3.0, 4.0]
    known = ttest_rel(np.log(ours), np.log(theirs))
    interval = np.exp(known.confidence_interval(0.95))
    found = ratio_of_pairs(ours, theirs)
    assert found.answer == ("worse" if known.pvalue < 0.05 else "inconclusive") == "worse"
    assert (found.low, found.high) == pytest.approx(tuple(interval))
    assert ratio_of_pairs(theirs, ours).answer == "better"
    assert found.ratio == pytest.approx(1 / (ratio_of_pairs(theirs, ours).ratio or 0))


def test_too_few_pairs_and_scores_without_a_partner_say_nothing() -> None:
    assert ratio_of_pairs([], [1.0]).answer == "unmeasured"
    two = ratio_of_pairs([1.0, None, 2.0], [2.0, 1.0, 4.0])
    assert two.answer == "unmeasured" and two.ratio == pytest.approx(0.5) and two.low is None
