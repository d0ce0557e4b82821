import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from diffusion.statistics.noise import (
    Noise,
    critical_value,
    interval,
    log_scores,
    pooled_noise,
    trial_verdicts,
    verdict,
)

ONE_PERCENT = Noise(cv=0.01, log_std=0.01, degrees_of_freedom=4)
# Student 1908: extra hours of sleep under two drugs; R documents t.test(extra ~ group, var.equal = TRUE) of it.
SLEEP = (
    (0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0),
    (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4),
)


def exp(logs: Sequence[float]) -> list[float]:
    return [math.exp(value) for value in logs]


def draws(seed: int, log_std: float, *sizes: int) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return [np.exp(rng.normal(place, log_std, size)).tolist() for place, size in enumerate(sizes)]


class TestPooledNoise:
    def test_groups_of_unequal_size_are_pooled_by_their_degrees_of_freedom(self) -> None:
        noise = pooled_noise({"baseline": exp([0, 0.02, 0.04]), "b": exp([1.00, 1.02]), "c": [7.0]})
        assert noise is not None
        variance = (0.0008 + 0.0002) / 3  # sums of squares around 0.02 and 1.01; two degrees and one
        assert noise.degrees_of_freedom == 3
        assert noise.log_std == pytest.approx(math.sqrt(variance), rel=1e-12)
        assert noise.cv == pytest.approx(0.018258941, rel=1e-6)  # (exp(0.000333333) - 1)^½, its series by hand

    def test_the_variance_is_what_analysis_of_variance_calls_within(self) -> None:
        groups = draws(1, 0.1, 3, 7, 2, 4)
        noise = pooled_noise(dict(zip(["baseline", "b", "c", "d"], groups, strict=True)))
        logs = [np.log(group) for group in groups]
        everything = np.concatenate(logs)
        between = sum(len(group) * (group.mean() - everything.mean()) ** 2 for group in logs) / 3
        assert noise is not None and noise.degrees_of_freedom == 12
        assert noise.log_std**2 == pytest.approx(between / stats.f_oneway(*logs).statistic, rel=1e-9)

    def test_of_log_normal_scores_it_finds_the_coefficient_of_variation(self) -> None:
        for true in (0.01, 0.09, 0.5):
            (scores,) = draws(2, math.sqrt(math.log1p(true**2)), 40_000)
            noise = pooled_noise({"baseline": scores})
            # the relative standard error of a standard deviation from n draws is (2 n)^-½, here 0.35 %
            assert noise is not None and noise.cv == pytest.approx(true, rel=0.02)
            assert noise.cv == pytest.approx(np.std(scores) / np.mean(scores), rel=0.03)

    @pytest.mark.parametrize("count", [0, 1, 2, 3])
    def test_it_takes_three_scores_of_the_baseline_whatever_else_was_repeated(self, count: int) -> None:
        replicas = {"baseline": [1.0, 1.1, 1.2][:count], "b": [2.0, 2.1, 2.2, 2.3]}
        assert (pooled_noise(replicas) is None) == (count < 3)
        assert pooled_noise({"b": [1.0, 1.1, 1.2]}) is None
        assert pooled_noise({"b16": [1.0, 1.1, 1.2]}, "b16") is not None

    @pytest.mark.parametrize("failed", [None, math.nan, math.inf])
    def test_a_failed_replica_is_not_a_score(self, failed: float | None) -> None:
        assert pooled_noise({"baseline": [1.0, failed, 1.1]}) is None
        assert pooled_noise({"baseline": [1.0, failed, 1.1, 1.2], "b": [failed, 3.0]}) == pooled_noise(
            {"baseline": [1.0, 1.1, 1.2]}
        )

    @pytest.mark.parametrize("score", [0.0, -1.0])
    def test_a_score_without_a_logarithm_is_refused(self, score: float) -> None:
        for call in (
            lambda: pooled_noise({"baseline": [1.0, 1.1, 1.2], "b": [score]}),
            lambda: interval(ONE_PERCENT, [1.0, score]),
            lambda: verdict(ONE_PERCENT, [1.0], [score]),
            lambda: verdict(None, [score], [1.0]),
            lambda: log_scores([score]),
        ):
            with pytest.raises(ValueError, match=f"^{score} is no score"):
                call()

    def test_copies_of_one_training_tell_nothing_of_noise(self) -> None:
        assert pooled_noise({"baseline": [0.1] * 7, "b": [0.3] * 3}) is None
        assert pooled_noise({"baseline": [0.1] * 7, "b": [0.3, 0.31]}) is not None

    def test_neither_units_nor_the_order_of_specs_and_seeds_matter(self) -> None:
        a, b = draws(3, 0.1, 4, 3)
        noise = pooled_noise({"baseline": a, "b": b})
        other = pooled_noise({"b": [score * 1e6 for score in b[::-1]], "baseline": [score * 1e6 for score in a[::-1]]})
        assert noise is not None and other is not None and other == pytest.approx(noise, rel=1e-9)


class TestInterval:
    def test_it_is_the_t_interval_of_a_table(self) -> None:
        noise = Noise(cv=0.02, log_std=0.02, degrees_of_freedom=2)
        found = interval(noise, exp([2.99, 3.00, 3.01]))
        width = 4.303 * 0.02 / math.sqrt(3)  # Student's 97.5 % quantile for 2 degrees of freedom
        assert found == pytest.approx((math.exp(3 - width), math.exp(3 + width)), rel=1e-5)

    def test_of_one_spec_alone_it_is_that_of_its_log_scores(self) -> None:
        (scores,) = draws(4, 0.05, 6)
        logs = np.log(scores)
        low, high = stats.t.interval(0.95, 5, logs.mean(), stats.sem(logs))
        assert interval(pooled_noise({"baseline": scores}), scores) == pytest.approx(exp([low, high]), rel=1e-9)

    def test_it_covers_the_truth_in_95_of_100_cases(self) -> None:
        covered = 0
        for seed in range(2_000):
            baseline, other = draws(seed, 0.09, 3, 2)
            found = interval(pooled_noise({"baseline": baseline, "b": other}), other)
            assert found is not None
            covered += found[0] <= math.e <= found[1]
        assert covered / 2_000 == pytest.approx(0.95, abs=0.013)  # 2.6 standard errors

    def test_without_noise_or_scores_there_is_none(self) -> None:
        assert interval(None, [1.0, 1.1]) is None
        assert interval(ONE_PERCENT, []) is None and interval(ONE_PERCENT, [None, math.nan]) is None
        assert interval(ONE_PERCENT, [5.0, None]) == interval(ONE_PERCENT, [5.0])

    def test_units_go_through(self) -> None:
        low, high = interval(ONE_PERCENT, [20.0, 21.0]) or (0, 0)
        assert interval(ONE_PERCENT, [200.0, 210.0]) == pytest.approx((10 * low, 10 * high))


class TestVerdict:
    def test_it_has_the_interval_that_r_prints_for_students_sleep_data(self) -> None:
        first, second = map(exp, SLEEP)
        noise = pooled_noise({"baseline": second, "b": first})
        assert noise is not None and noise.degrees_of_freedom == 18
        said = verdict(noise, first, second)
        assert said.low is not None and said.high is not None
        assert (math.log(said.low), math.log(said.high)) == pytest.approx((-3.363874, 0.203874), abs=1e-6)
        assert said.answer == "inconclusive"
        assert verdict(noise, first, second, alpha=0.0792).answer == "better"  # R: p-value = 0.07919
        assert verdict(noise, first, second, alpha=0.0791).answer == "inconclusive"

    def test_it_agrees_with_scipys_t_test_on_two_groups(self) -> None:
        answers = set()
        for seed in range(60):
            a, b = draws(seed, 0.6, 3, 4)
            noise = pooled_noise({"baseline": a, "b": b})
            theirs = stats.ttest_ind(np.log(b), np.log(a))
            said = verdict(noise, b, a, alpha=0.10)
            bounds = theirs.confidence_interval(0.90)
            assert (said.low, said.high) == pytest.approx(tuple(exp(bounds)), rel=1e-9)
            assert (said.answer in ("better", "worse")) == (theirs.pvalue < 0.10)
            answers.add(said.answer)
        assert answers == {"worse", "inconclusive"}  # both cases were met

    def test_the_edge_lies_where_the_hand_computed_one_does(self) -> None:
        edge = 2.776 * 0.01 * math.sqrt(1 / 4 + 1 / 3)  # the 97.5 % quantile for 4 degrees of freedom
        for factor, answer in ((0.999, "inconclusive"), (1.001, "worse")):
            assert verdict(ONE_PERCENT, exp([factor * edge] * 4), [1.0] * 3).answer == answer
        for factor, answer in ((0.999, "inconclusive"), (1.001, "better")):
            assert verdict(ONE_PERCENT, exp([-factor * edge] * 4), [1.0] * 3).answer == answer

    def test_the_sentence_names_the_numbers(self) -> None:
        said = verdict(ONE_PERCENT, [9.0, 9.0], [10.0, 10.0, 10.0], comparisons=12)
        assert said.answer == "better" and said.ratio == pytest.approx(0.9)
        # t for 0.05 / 12 and 4 degrees is 5.885: 0.9 × exp(± 5.885 × 0.01 × (1/2 + 1/3)^½)
        assert said.why == (
            "9 is 0.900 × 10, between 0.853 and 0.950 at 95.0% over 12 comparisons: better, "
            "by 2 against 3 trainings and 1.0% of noise (4 degrees of freedom)"
        )
        assert " at 95.0%: better" in verdict(ONE_PERCENT, [9.0, 9.0], [10.0]).why

    def test_the_lower_score_is_the_better_and_the_other_way_round_is_the_mirror_image(self) -> None:
        a, b = [9.0, 9.1], [10.0, 10.2, 10.1]
        said, other = verdict(ONE_PERCENT, a, b), verdict(ONE_PERCENT, b, a)
        assert (said.answer, other.answer) == ("better", "worse")
        assert said.low and said.high and said.ratio
        assert (other.ratio, other.low, other.high) == pytest.approx((1 / said.ratio, 1 / said.high, 1 / said.low))

    def test_comparisons_divide_alpha(self) -> None:
        a, b = [9.7, 9.8], [10.0, 10.1]
        many, single = verdict(ONE_PERCENT, a, b, comparisons=25), verdict(ONE_PERCENT, a, b, alpha=0.002)
        assert (many.low, many.high) == pytest.approx((single.low, single.high), rel=1e-12)
        assert verdict(ONE_PERCENT, a, b, comparisons=1).answer == "better" and many.answer == "inconclusive"

    def test_equal_specs_are_called_better_and_worse_in_a_fortieth_of_cases_each(self) -> None:
        answers = []
        for seed in range(3_000):
            baseline, other = draws(seed, 0.02, 3, 2)
            noise = pooled_noise({"baseline": baseline, "b": other})
            answers.append(verdict(noise, [score / math.e for score in other], baseline).answer)
        for answer in ("better", "worse"):
            assert answers.count(answer) / 3_000 == pytest.approx(0.025, abs=0.0086)  # three standard errors

    def test_without_noise_a_ratio_is_told_and_nothing_is_claimed(self) -> None:
        said = verdict(None, [5.0], [10.0])
        assert (said.answer, said.low, said.high) == ("unmeasured", None, None) and said.ratio == pytest.approx(0.5)
        assert said.why.startswith("5 is 0.500 × 10, and ") and "at least 3 training seeds of the baseline" in said.why

    @pytest.mark.parametrize(("scores", "others"), [([], [1.0]), ([1.0], []), ([None, math.nan], [1.0])])
    def test_without_a_score_nothing_is_measured(self, scores: list[float | None], others: list[float | None]) -> None:
        said = verdict(ONE_PERCENT, scores, others)
        assert (said.answer, said.ratio) == ("unmeasured", None) and "no training has a score" in said.why

    def test_a_failed_replica_counts_as_no_training(self) -> None:
        assert verdict(ONE_PERCENT, [9.0, None, 9.2], [10.0, math.inf]) == verdict(ONE_PERCENT, [9.0, 9.2], [10.0])

    def test_neither_units_nor_the_order_of_seeds_matter(self) -> None:
        said = verdict(ONE_PERCENT, [9.7, 9.8], [10.0, 10.1])
        other = verdict(ONE_PERCENT, [0.0098, 0.0097], [0.0101, 0.0100])
        assert other.answer == said.answer and other[1:4] == pytest.approx(said[1:4], rel=1e-9)

    def test_ratios_beyond_a_float_are_infinite(self) -> None:
        said = verdict(Noise(1.0, 800.0, 2), [1e300], [1e-300])
        assert (said.answer, said.ratio, said.low, said.high) == ("inconclusive", math.inf, 0.0, math.inf)

    @pytest.mark.parametrize("bad", [{"alpha": 0.0}, {"alpha": 1.0}, {"alpha": math.nan}, {"comparisons": 0}])
    def test_a_level_that_is_none_is_refused(self, bad: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="alpha"):
            verdict(ONE_PERCENT, [1.0], [2.0], **bad)  # type: ignore[arg-type]


class TestTrialVerdicts:
    def test_each_trial_is_a_comparison_with_the_baseline_and_each_pair_one_with_an_incumbent(self) -> None:
        said = trial_verdicts(ONE_PERCENT, 9.0, [10.0, 10.1, 9.9], [9.5], rounds=25)
        assert said.baseline == verdict(ONE_PERCENT, [9.0], [10.0, 10.1, 9.9], comparisons=25)
        assert said.incumbent == verdict(ONE_PERCENT, [9.0], [9.5], comparisons=25 * 26 // 2)

    def test_a_failed_trial_and_a_missing_incumbent_are_unmeasured(self) -> None:
        assert trial_verdicts(ONE_PERCENT, 9.0, [10.0], (), rounds=3).incumbent.answer == "unmeasured"
        assert [said.answer for said in trial_verdicts(ONE_PERCENT, None, [10.0], [9.0], 3)] == ["unmeasured"] * 2
        with pytest.raises(ValueError, match="fewer than 1"):
            trial_verdicts(ONE_PERCENT, 9.0, [10.0], [9.0], rounds=0)


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-9, 0.9])
@pytest.mark.parametrize("degrees_of_freedom", [1, 2, 40])
def test_critical_values_are_scipys(alpha: float, degrees_of_freedom: int) -> None:
    assert critical_value(alpha, degrees_of_freedom) == pytest.approx(stats.t.isf(alpha / 2, degrees_of_freedom))
