import math
import random
from collections.abc import Sequence

import pytest

from diffusion.statistics.pruning import DEFAULT, EARLIEST, Curve, Rule, replay, should_prune

STEPS = 1000
RUNG = 400
PEERS: list[Curve] = [{RUNG: score} for score in (20.0, 22.0, 24.0, 26.0, 28.0, 30.0)]
STRICT = Rule(eta=3, margin=0.1, catch_up=0.0)  # more than 1.1 × the second best of six


def curve(level: float, excess: float, power: float, rung_steps: Sequence[int] = (400, 700, 1000)) -> dict[int, float]:
    """A power law that ends at `level` + `excess`."""
    return {step: level + excess * (step / STEPS) ** -power for step in rung_steps}


def searched(count: int, spread: float, crossing: float, rng: random.Random) -> list[Curve]:
    """A search's curves: levels, excesses and powers vary, so that curves cross, and every score has 3 % of noise."""
    curves: list[Curve] = []
    for _ in range(count):
        level = 20 * math.exp(rng.gauss(0, spread))
        true = curve(level, level / 2 * math.exp(rng.gauss(0, crossing)), 0.7 * math.exp(rng.gauss(0, crossing)))
        curves.append({step: score * math.exp(rng.gauss(0, 0.03)) for step, score in true.items()})
    return curves


class TestVerdict:
    def test_a_candidate_clearly_behind_its_peers_is_stopped_and_the_sentence_names_the_numbers(self) -> None:
        verdict = should_prune({RUNG: 25.3}, PEERS, RUNG, STEPS, STRICT)
        assert verdict.prune
        assert verdict.why == (
            "score 25.3 at step 400 is 1.15 × 22, the 2nd best of 6 peers there; "
            "more than 1.10 × is not caught up in the steps left"
        )

    def test_a_candidate_within_the_margin_goes_on(self) -> None:
        verdict = should_prune({RUNG: 24.1}, PEERS, RUNG, STEPS, STRICT)
        assert not verdict.prune
        assert verdict.why.endswith("; up to 1.10 × may be caught up in the steps left")

    def test_early_rungs_forgive_what_a_late_starter_may_gain(self) -> None:
        rule = Rule(catch_up=0.2, margin=0.05)
        assert rule.allowance(400, STEPS) == pytest.approx(1.05 * 2.5**0.2)
        assert rule.allowance(200, STEPS) > rule.allowance(400, STEPS) > rule.allowance(1000, STEPS) == 1.05
        peers: list[Curve] = [{400: 20.0, 700: 20.0}] * 4
        assert not should_prune({400: 24.0}, peers, 400, STEPS, rule).prune
        assert should_prune({700: 24.0}, peers, 700, STEPS, rule).prune

    def test_the_margin_holds_against_the_best_share_of_the_peers_and_not_against_their_best(self) -> None:
        peers: list[Curve] = [{RUNG: 1.0}, {RUNG: 20.0}, *PEERS[1:]]  # one far ahead of all
        assert not should_prune({RUNG: 24.0}, peers, RUNG, STEPS, Rule(eta=3, margin=0.1, catch_up=0)).prune
        assert should_prune({RUNG: 24.0}, peers, RUNG, STEPS, Rule(eta=7, margin=0.1, catch_up=0)).prune

    def test_a_tie_is_not_behind(self) -> None:
        rule = Rule(margin=0.0, catch_up=0.0)
        alike: list[Curve] = [{RUNG: 20.0}] * 5
        assert not should_prune({RUNG: 20.0}, alike, RUNG, STEPS, rule).prune
        assert should_prune({RUNG: 20.0000001}, alike, RUNG, STEPS, rule).prune

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_fewer_peers_than_it_takes_never_stop_a_candidate(self, count: int) -> None:
        verdict = should_prune({RUNG: 1e9}, PEERS[:count], RUNG, STEPS)
        assert not verdict.prune and f"{count} peer" in verdict.why and "it takes 3" in verdict.why
        assert should_prune({RUNG: 1e9}, PEERS[:3], RUNG, STEPS).prune

    def test_scores_of_another_rung_are_never_compared(self) -> None:
        later: list[Curve] = [{700: 10.0, 1000: 5.0} for _ in range(9)]
        verdict = should_prune({RUNG: 30.0, 200: 90.0}, later, RUNG, STEPS)
        assert not verdict.prune and "0 peers" in verdict.why
        assert should_prune({RUNG: 25.3}, PEERS, RUNG, STEPS, STRICT) == should_prune(
            {200: 1.0, RUNG: 25.3, 700: 1.0}, [{**peer, 200: 99.0, 700: 99.0} for peer in PEERS], RUNG, STEPS, STRICT
        )

    @pytest.mark.parametrize("score", [None, math.nan, math.inf])
    def test_a_scoring_that_failed_is_a_failure_and_stops_nothing(self, score: float | None) -> None:
        verdict = should_prune({RUNG: score}, PEERS, RUNG, STEPS)
        assert not verdict.prune and "a failure" in verdict.why
        failed: list[Curve] = [{RUNG: score}] * 9
        assert not should_prune({RUNG: 1e9}, failed, RUNG, STEPS).prune  # and is no peer
        assert should_prune({RUNG: 25.3}, PEERS + failed, RUNG, STEPS, STRICT) == should_prune(
            {RUNG: 25.3}, PEERS, RUNG, STEPS, STRICT
        )

    def test_a_rung_that_was_not_scored_stops_nothing(self) -> None:
        assert not should_prune({700: 1e9}, PEERS, RUNG, STEPS).prune

    def test_the_baseline_and_the_best_are_never_stopped(self) -> None:
        assert not should_prune({RUNG: 1e9}, PEERS, RUNG, STEPS, protected="baseline").prune
        assert not should_prune({RUNG: 1e9}, PEERS, RUNG, STEPS, protected="best").prune

    def test_nothing_is_stopped_before_a_fifth_of_the_training(self) -> None:
        early: list[Curve] = [{199: 20.0, 200: 20.0}] * 5
        verdict = should_prune({199: 1e9}, early, 199, STEPS)
        assert not verdict.prune and verdict.why.startswith("step 199 is before 20% of 1,000 steps")
        assert should_prune({200: 1e9}, early, 200, STEPS).prune

    def test_scores_at_or_below_zero_have_no_ratio_and_stop_nothing(self) -> None:
        peers: list[Curve] = [{RUNG: score} for score in (-1.0, 0.0, 1.0, 2.0)]
        assert not should_prune({RUNG: 5.0}, peers, RUNG, STEPS).prune
        assert not should_prune({RUNG: -0.5}, PEERS, RUNG, STEPS).prune


class TestRule:
    def test_rungs_lie_where_the_fractions_say_and_never_at_the_end(self) -> None:
        assert DEFAULT.rungs(STEPS) == (400, 700)
        assert Rule(fractions=(0.5, 0.2, 0.25)).rungs(101) == (21, 26, 51)
        assert DEFAULT.rungs(1) == () and DEFAULT.rungs(2) == (1,)
        assert all(rung >= EARLIEST * steps for steps in range(1, 50) for rung in Rule((0.2,)).rungs(steps))

    @pytest.mark.parametrize(
        "bad",
        [
            {"fractions": (0.1, 0.5)},
            {"fractions": (1.0,)},
            {"eta": 1},
            {"margin": -0.1},
            {"catch_up": math.nan},
            {"min_peers": 0},
        ],
    )
    def test_a_number_out_of_its_range_is_refused(self, bad: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=r"eta > 1|not all fractions"):
            Rule(**bad)  # type: ignore[arg-type]


class TestReplay:
    def test_parallel_curves_are_stopped_at_the_first_rung_and_the_steps_left_are_saved(self) -> None:
        good, bad = curve(20, 10, 0.5), curve(60, 30, 0.5)
        found = replay([good, good, good, bad], order_seed=next(seed for seed in range(99) if last_is(3, 4, seed)))
        assert found.pruned == (3,) and not found.best_pruned
        assert found.saved_share == pytest.approx(0.6 / 4)  # stopped at 400 of 1,000

    def test_the_same_curves_cost_what_their_specs_cost(self) -> None:
        good, bad = curve(20, 10, 0.5), curve(60, 30, 0.5)
        seed = next(seed for seed in range(99) if last_is(3, 4, seed))
        found = replay([good, good, good, bad], order_seed=seed, seconds_a_step=[1, 1, 1, 3])
        assert found.saved_share == pytest.approx(3 * 0.6 / 6)

    def test_a_candidate_that_falls_behind_later_is_stopped_at_a_later_rung(self) -> None:
        good, stuck = curve(20, 10, 0.5), {400: 38.0, 700: 38.0, 1000: 38.0}
        found = replay([good, good, good, stuck], order_seed=next(seed for seed in range(99) if last_is(3, 4, seed)))
        assert found.saved_share == pytest.approx(0.3 / 4)

    def test_a_best_one_that_starts_late_is_seen_to_be_lost_under_a_rule_without_allowance(self) -> None:
        crossing = {400: 33.0, 700: 24.0, 1000: 18.0}
        curves = [curve(20, 5, 0.3)] * 3 + [crossing]
        seed = next(seed for seed in range(99) if last_is(3, 4, seed))
        assert replay(curves, Rule(margin=0, catch_up=0), seed).best_pruned
        assert not replay(curves, Rule(margin=0.1, catch_up=0.3), seed).best_pruned

    def test_the_baseline_comes_first_and_is_never_stopped(self) -> None:
        good, bad = curve(20, 10, 0.5), curve(60, 30, 0.5)
        for seed in range(20):
            found = replay([good, good, bad, good, good], order_seed=seed, baseline=2)
            assert found.pruned == () and found.saved_share == 0

    def test_a_stopped_candidate_is_a_peer_at_the_rung_where_it_was_stopped(self) -> None:
        bad, worse = curve(60, 30, 0.5), {400: 200.0, 700: 10.0, 1000: 5.0}
        seed = next(seed for seed in range(999) if order_is([0, 1, 2, 3, 4], seed))
        found = replay([curve(20, 10, 0.5)] * 3 + [bad, worse], Rule(min_peers=4, fractions=(0.4,)), seed)
        assert found.pruned == (4,) and found.best_pruned  # its fourth peer is the one before

    def test_of_a_stopped_candidate_nothing_later_is_known(self) -> None:
        good, recovering = curve(20, 10, 0.5), {400: 200.0, 700: 1.0, 1000: 1.0}
        seed = next(seed for seed in range(999) if order_is([0, 1, 2, 3, 4], seed))
        assert replay([good, good, good, recovering, good], order_seed=seed).pruned == (3,)

    def test_a_training_that_failed_costs_its_steps_and_cannot_be_the_best(self) -> None:
        good, broken = curve(20, 10, 0.5), {400: 1.0}
        assert replay([good, good, broken], order_seed=0) == (0.0, False, ())
        with pytest.raises(ValueError, match="none of the 1 curves has a finite score at step 400"):
            replay([{400: None}])

    def test_one_order_gives_one_answer(self) -> None:
        curves = searched(20, 0.2, 0.25, random.Random(0))
        assert replay(curves, order_seed=3) == replay(curves, order_seed=3)
        assert len({replay(curves, order_seed=seed).saved_share for seed in range(20)}) > 1

    @pytest.mark.parametrize(("count", "spread", "crossing"), [(20, 0.2, 0.25), (40, 0.3, 0.1), (20, 0.3, 0.4)])
    def test_the_default_saves_a_fifth_and_keeps_the_best_in_98_of_100_searches(
        self, count: int, spread: float, crossing: float
    ) -> None:
        rng = random.Random(1)
        found = [replay(searched(count, spread, crossing, rng), order_seed=seed) for seed in range(500)]
        assert sum(one.saved_share for one in found) / len(found) >= 0.20
        assert sum(one.best_pruned for one in found) / len(found) <= 0.02

    def test_candidates_that_differ_by_noise_alone_are_hardly_ever_stopped(self) -> None:
        rng = random.Random(2)
        found = [replay(searched(20, 0.0, 0.0, rng), order_seed=seed) for seed in range(100)]
        assert sum(one.saved_share for one in found) / len(found) < 0.01


def order_is(wanted: list[int], seed: int) -> bool:
    return random.Random(seed).sample(range(len(wanted)), len(wanted)) == wanted


def last_is(index: int, count: int, seed: int) -> bool:
    return random.Random(seed).sample(range(count), count)[-1] == index
