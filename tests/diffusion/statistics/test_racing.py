import importlib.util
import itertools
import math
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffusion.statistics import racing
from diffusion.statistics.noise import Scores, pooled_noise, verdict
from diffusion.statistics.race_conclusion import conclusion
from diffusion.statistics.racing import DEFAULT, Out, Race, Rule, Training, plan_race, standing

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "verdict_simulation.py"
BASELINE = [10.0, 10.1, 9.9, 10.05, 9.95]
WOBBLE = (0.0, 0.004, -0.006, 0.002, -0.003, 0.005, -0.001, 0.003)  # log-deviations by seed


def spec_scores(level: float, first: float | None = None, seeds: int = 5) -> list[float]:
    """A spec's scores by seed, around a level; the first may be lucky."""
    scores = [level * math.exp(each) for each in WOBBLE[:seeds]]
    return scores if first is None else [first, *scores[1:]]


def firsts(scores: Mapping[str, Scores]) -> dict[str, float | None]:
    return {spec: found[0] for spec, found in scores.items() if spec != "base"}


def raced(scores: Mapping[str, Scores], allowance: int = 99, rule: Rule = DEFAULT, start: int = 3) -> Race:
    return plan_race(firsts(scores), "base", scores["base"][:start], allowance=allowance, rule=rule)


def random_search(seed: int, candidates: int = 6, spread: float = 0.05, seeds: int = 5) -> dict[str, list[float]]:
    rng = random.Random(seed)
    levels = {f"c{number}": 10 * math.exp(rng.gauss(0, spread)) for number in range(candidates)} | {"base": 10.0}
    return {spec: [level * math.exp(rng.gauss(0, 0.02)) for _ in range(seeds)] for spec, level in levels.items()}


def stepped(race: Race, stored: Mapping[str, Scores], pick: random.Random) -> tuple[dict[str, list[Any]], int]:
    """Train what the race asks for, one at a time and in any order within what is asked; scores and their number."""
    known: dict[str, list[Any]] = {spec: [stored[spec][0]] for spec in race.finalists}
    known["base"] = list(stored["base"][: race.baseline_seeds])
    for done in itertools.count():
        wanted = standing(race, known).next
        if not wanted:
            return known, done
        spec, seed = pick.choice(wanted)
        assert seed == len(known[spec])  # the next one, never one that is there
        known[spec].append(stored[spec][seed])
    raise AssertionError


GOOD = {
    "base": BASELINE,
    "good": spec_scores(9.0),
    "close": spec_scores(9.02),
    "far": spec_scores(9.8),
    "worst": spec_scores(11.0),
}


class TestPlan:
    def test_the_best_first_scores_race_whatever_comes_later(self) -> None:
        scores = {f"c{place}": spec_scores(12 - place, first=9 + place / 100) for place in range(6)}
        assert raced({"base": BASELINE, **scores}).finalists == ("c0", "c1", "c2")
        assert raced({"base": BASELINE, **scores}, rule=Rule(finalists=1)).finalists == ("c0",)

    def test_ties_go_by_the_text_and_the_order_of_the_specs_does_not_matter(self) -> None:
        scores = {spec: [9.5] for spec in ("d", "b", "c", "a")}
        for order in itertools.permutations(scores):
            assert raced({"base": BASELINE, **{spec: scores[spec] for spec in order}}).finalists == ("a", "b", "c")

    def test_a_failed_candidate_and_the_baseline_are_no_finalists(self) -> None:
        found: dict[str, float | None] = {"a": None, "b": math.nan, "c": 9.9, "base": 9.0}
        race = plan_race(found, "base", BASELINE[:3], allowance=99)
        assert (race.finalists, race.comparisons) == (("c",), 1)

    def test_who_is_clearly_behind_at_first_does_not_run_and_the_claim_is_corrected_for_it_all_the_same(self) -> None:
        race = raced({"base": BASELINE, "good": [9.0], "far": [13.0], "worse": [11.0]})
        assert race.finalists == ("good",) and race.comparisons == 3
        assert [(spec, out.by) for spec, out in race.excluded] == [("worse", "good"), ("far", "good")]
        assert race.excluded[0][1].why.startswith("good is clearly better: 9 is 0.818 × 11, between ")
        assert raced({"base": BASELINE, "a": [12.0], "b": [12.1]}).excluded[0][1].by == "base"

    def test_without_noise_nobody_is_behind(self) -> None:
        assert len(raced({"base": BASELINE, "good": [9.0], "far": [130.0]}, start=2).finalists) == 2

    @pytest.mark.parametrize(
        ("allowance", "finalists", "fresh_seeds"),
        [
            (99, 3, 4),
            (14, 3, 4),
            (13, 3, 3),
            (11, 3, 3),
            (10, 2, 4),
            (8, 2, 3),
            (7, 1, 4),
            (5, 1, 3),
            (2, 1, 1),
            (1, 1, 0),
        ],
    )
    def test_finalists_and_then_seeds_shrink_until_the_whole_race_fits(
        self, allowance: int, finalists: int, fresh_seeds: int
    ) -> None:
        race = raced({"base": BASELINE, **{f"c{place}": [9.5] for place in range(9)}}, allowance)
        assert (len(race.finalists), race.fresh_seeds, race.comparisons) == (finalists, fresh_seeds, finalists)

    def test_no_race_costs_more_than_was_allowed(self) -> None:
        most = 0
        for seed, allowance in itertools.product(range(30), (0, 1, 2, 3, 6, 9, 13, 30)):
            stored = random_search(seed, spread=0.0, seeds=7)
            race = raced(stored, allowance, Rule(finalists=4, max_seeds=7), start=3 + seed % 5)
            _, done = stepped(race, stored, random.Random(seed))
            assert done <= allowance
            most = max(most, done)
        assert most == 30 - 30 % 4 - 1 or most > 20  # and a large allowance is used

    @pytest.mark.parametrize("bad", [{"finalists": 0}, {"max_seeds": 1}, {"error_rate": 0.5}, {"error_rate": math.nan}])
    def test_a_rule_that_is_none_is_refused(self, bad: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="needs"):
            Rule(**bad)

    def test_a_score_without_a_logarithm_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"^0\.0 is no score"):
            plan_race({"a": 0.0}, "base", BASELINE, allowance=9)


class TestLevels:
    def test_the_error_rate_is_spent_over_the_looks_and_no_further(self) -> None:
        race = raced(GOOD)
        assert list(race.looks) == [2, 3, 4]
        assert [race.share(look) for look in race.looks] == [8 / 64, 19 / 64, 37 / 64]
        for seeds in range(2, 9):
            race = raced(GOOD, rule=Rule(max_seeds=seeds))
            assert sum(race.share(look) for look in race.looks) == pytest.approx(1)
        assert raced(GOOD, allowance=2).share(1) == 1

    def test_the_claim_is_a_t_test_of_fresh_seeds_at_the_level_of_its_look(self) -> None:
        scores = {"base": BASELINE, "good": spec_scores(9.75), "close": spec_scores(9.76), "far": spec_scores(9.77)}
        said = conclusion(raced(scores), scores)
        fresh = {spec: found[1:] for spec, found in scores.items() if spec != "base"}
        noise = pooled_noise({"base": BASELINE, **fresh}, "base")
        assert noise is not None and noise.degrees_of_freedom == 4 + 3 * 3
        # 0.03 on one side, 37/64 of it at the last of three looks, divided by three finalists
        assert said.baseline == verdict(noise, fresh["good"], BASELINE, alpha=2 * 0.03 * 37 / 64 / 3 * 3, comparisons=3)
        assert said.separation == verdict(noise, fresh["good"], fresh["close"], alpha=0.03 / 3)
        assert (said.winner, said.runner_up, said.separated) == ("good", "close", False)


class TestStanding:
    def test_a_wave_is_a_seed_for_everyone_that_is_left_and_for_the_baseline_until_it_has_its_own(self) -> None:
        race = raced(GOOD)
        known: dict[str, list[Any]] = {spec: scores[:1] for spec, scores in GOOD.items()} | {"base": BASELINE[:3]}
        assert standing(race, known).next == (
            Training("base", 3), Training("good", 1), Training("close", 1), Training("far", 1),
        )  # fmt: skip
        known["good"] = GOOD["good"][:2]
        assert Training("good", 1) not in standing(race, known).next and len(standing(race, known).next) == 3
        for spec in race.finalists:
            known[spec] = GOOD[spec][:3]
        assert standing(race, known).next == (Training("base", 3),)
        known["base"] = BASELINE
        now = standing(race, known)
        assert now.look == 2 and now.field == ("good", "close")
        assert now.next == (Training("good", 3), Training("close", 3))  # the baseline has its five

    def test_a_finalist_that_is_clearly_worse_than_the_leader_is_out_and_told_why(self) -> None:
        now = standing(raced(GOOD), GOOD)
        assert set(now.eliminated) == {"far"} and now.eliminated["far"].by == "good"
        assert now.eliminated["far"].why.startswith("good is clearly better: 8.99")
        assert now.seeds == {"good": 5, "close": 5, "far": 3, "base": 5}
        assert now.ended == "every finalist left has its 4 fresh seeds" and now.next == ()

    def test_one_that_is_left_and_better_than_the_baseline_ends_the_race_early(self) -> None:
        scores = {**GOOD, "close": spec_scores(9.9)}
        now = standing(raced(scores), scores)
        assert now.ended == "after 2 fresh seeds good is left, and it is better than the baseline"
        assert now.seeds["good"] == 3 and conclusion(raced(scores), scores).recommended == "good"

    def test_one_that_is_left_and_not_yet_better_goes_on(self) -> None:
        scores = {"base": BASELINE, "good": spec_scores(9.97), "far": spec_scores(10.4, first=9.9)}
        now = standing(raced(scores), {**scores, "good": scores["good"][:3]})
        assert now.field == ("good",) and now.next == (Training("good", 3),) and now.ended is None

    def test_a_race_in_which_all_are_clearly_worse_than_the_baseline_ends(self) -> None:
        scores = {"base": BASELINE, "a": spec_scores(10.8, first=9.5), "b": spec_scores(11.6, first=9.6)}
        now = standing(raced(scores), scores)
        assert now.field == () and now.look == 2 and now.ended and now.ended.startswith("no finalist is left")
        assert {spec: out.by for spec, out in now.eliminated.items()} == {"a": "base", "b": "a"}
        said = conclusion(raced(scores), scores)
        assert (said.winner, said.recommended) == (None, "base") and said.why.startswith(
            "base, the baseline: no finalist"
        )

    def test_it_is_the_same_step_by_step_in_any_order_and_with_all_scores_at_once(self) -> None:
        ends = set()
        for seed in range(60):
            stored = random_search(seed)
            race = raced(stored)
            known, _ = stepped(race, stored, random.Random(seed))
            assert standing(race, known) == standing(race, stored)
            assert conclusion(race, known) == conclusion(race, stored)
            assert raced(stored) == race  # a resumed search makes the same plan of the same first scores
            ends.add((conclusion(race, stored).recommended == "base", standing(race, stored).look))
        assert len(ends) >= 4  # early and late, with and without a better spec

    def test_a_seed_that_failed_is_not_trained_again_and_a_finalist_without_scores_is_out(self) -> None:
        scores: dict[str, Any] = {**GOOD, "good": [9.0, None, math.nan], "close": [9.02, None, *GOOD["close"][2:]]}
        now = standing(raced(scores), scores)
        assert now.eliminated["good"] == Out(None, None)
        assert now.eliminated["good"].why == "no fresh training has a score"
        assert now.field == ("close",) and now.ended
        assert conclusion(raced(scores), scores).recommended == "close"

    def test_without_three_scores_of_the_baseline_it_goes_to_its_end_and_claims_nothing(self) -> None:
        scores: dict[str, Any] = {**GOOD, "base": [10.0, None, None, None, 10.1]}
        said = conclusion(raced(scores), scores)
        assert said.baseline is not None and said.baseline.answer == "unmeasured"
        assert (said.winner, said.recommended, said.separated) == ("good", "base", False)
        assert "3 training seeds of the baseline" in said.why


class TestConclusion:
    def test_it_names_the_winner_its_verdict_and_whether_it_is_apart(self) -> None:
        said = conclusion(raced(GOOD), GOOD)
        assert (said.winner, said.recommended, said.runner_up, said.separated) == ("good", "good", "close", False)
        assert said.baseline is not None and said.baseline.answer == "better"
        assert said.separation is not None and said.separation.answer == "inconclusive"
        assert said.why.startswith("good is better than the baseline: 8.99") and said.why.endswith(
            "degrees of freedom); not separated from the other finalists"
        )
        apart = {**GOOD, "close": spec_scores(9.3), "far": spec_scores(9.9)}
        said = conclusion(raced(apart), apart)
        assert said.separated and said.why.endswith("; separated from the other finalists")

    def test_one_that_was_beaten_out_of_the_race_by_the_winner_stays_beaten(self) -> None:
        scores = {
            "base": BASELINE,
            "good": [9.0, 9.0, 9.05, 9.4, 9.5],  # what was clear after two is not after four
            "rival": [9.0, 9.02, 9.03, 9.41, 9.52],
            "out": [9.1, 9.4, 9.35],
        }
        said, now = conclusion(raced(scores), scores), standing(raced(scores), scores)
        assert (said.winner, said.runner_up, now.field) == ("good", "rival", ("good", "rival"))
        assert now.eliminated["out"].by == "good" and not said.separated
        noise = pooled_noise({"base": BASELINE, **{spec: scores[spec][1:] for spec in raced(scores).finalists}}, "base")
        assert verdict(noise, scores["good"][1:], scores["out"][1:], alpha=0.03 / 3).answer == "inconclusive"
        scores["rival"] = [9.0, 9.02, 9.03, 10.6, 10.6]  # falls far behind at last
        said = conclusion(raced(scores), scores)
        assert said.runner_up == "out" and said.separation == now.eliminated["out"].verdict

    def test_one_that_was_beaten_by_another_is_held_against_the_winner_anew(self) -> None:
        scores = {
            "base": BASELINE,
            "first": [9.0, 9.0, 9.02, 9.9, 9.95],
            "good": [9.0, 9.05, 9.06, 9.1, 9.1],
            "out": [9.1, 9.3, 9.32],
        }
        said, now = conclusion(raced(scores), scores), standing(raced(scores), scores)
        assert now.eliminated["out"].by == "first" and (said.winner, said.runner_up) == ("good", "out")
        noise = pooled_noise({"base": BASELINE, **{spec: scores[spec][1:] for spec in raced(scores).finalists}}, "base")
        assert said.separation == verdict(noise, scores["good"][1:], scores["out"][1:], alpha=0.03 / 3)

    def test_when_nothing_beats_the_baseline_beyond_noise_the_baseline_is_recommended(self) -> None:
        scores = {"base": BASELINE, "a": spec_scores(9.97, first=9.0), "b": spec_scores(10.01, first=9.1)}
        said = conclusion(raced(scores), scores)
        assert (said.winner, said.recommended) == ("a", "base")
        assert said.why.startswith("base, the baseline: nothing beat it beyond noise; the best finalist is a, ")

    def test_the_seed_that_chose_a_finalist_plays_no_part_in_what_is_claimed(self) -> None:
        said = conclusion(raced(GOOD), GOOD)
        lucky = {**GOOD, "good": [5.0, *GOOD["good"][1:]], "far": [8.9, *GOOD["far"][1:]]}
        assert conclusion(raced(GOOD), lucky) == said

    def test_scores_that_nobody_asked_for_play_no_part(self) -> None:
        early = {**GOOD, "close": spec_scores(9.9)}  # ends at two fresh seeds
        more = {spec: [*scores, 1e-3] for spec, scores in early.items()} | {"other": [1e-3] * 9}
        assert conclusion(raced(early), more) == conclusion(raced(early), early)
        out = {**GOOD, "far": [*GOOD["far"][:3], 1.0, 1.0]}  # it fell out before
        assert conclusion(raced(GOOD), out) == conclusion(raced(GOOD), GOOD)

    def test_a_single_finalist_has_nobody_to_be_apart_from(self) -> None:
        said = conclusion(raced(GOOD, rule=Rule(finalists=1)), GOOD)
        assert (said.winner, said.runner_up, said.separation, said.separated) == ("good", None, None, None)
        assert said.why.endswith("degrees of freedom)")

    @pytest.mark.parametrize(
        ("found", "allowance", "why"),
        [
            ({}, 9, "no candidate has a score"),
            ({"a": None}, 9, "no candidate has a score"),
            ({"a": 9.0}, 1, "the allowance"),
        ],
    )
    def test_a_race_that_cannot_be_held_recommends_the_baseline(
        self, found: dict[str, float | None], allowance: int, why: str
    ) -> None:
        race = plan_race(found, "base", BASELINE[:3], allowance=allowance)
        said, now = conclusion(race, {"base": BASELINE}), standing(race, {"base": BASELINE})
        assert now.next == () and now.ended and now.ended.startswith(why)
        assert (said.winner, said.baseline, said.recommended) == (None, None, "base")
        assert said.why.startswith(f"base, the baseline: {why}")

    def test_before_the_first_look_there_is_none_and_afterwards_the_last_one_counts(self) -> None:
        race = raced(GOOD)
        assert conclusion(race, {spec: scores[:2] for spec, scores in GOOD.items()}).why == (
            "base, the baseline: the race has not come to its first look, at 2 fresh seeds each"
        )
        stopped = {spec: scores[:3] for spec, scores in GOOD.items()} | {"base": BASELINE}
        said = conclusion(race, stopped)
        assert said.baseline is not None and "by 2 against 5 trainings" in said.baseline.why
        assert conclusion(race, {**stopped, "good": GOOD["good"][:4]}) == said  # half a wave

    def test_neither_units_nor_the_order_of_the_specs_matter(self) -> None:
        for seed in range(40):
            stored = random_search(seed)
            said = conclusion(raced(stored), stored)
            scaled = {spec: [1e4 * score for score in scores] for spec, scores in reversed(stored.items())}
            other = conclusion(raced(scaled), scaled)
            for field in ("winner", "runner_up", "separated", "recommended"):
                assert getattr(other, field) == getattr(said, field)
            if said.baseline and other.baseline:
                assert other.baseline[1:4] == pytest.approx(said.baseline[1:4], rel=1e-9)


@pytest.fixture(scope="module")
def simulation() -> Any:
    found = importlib.util.spec_from_file_location("verdict_simulation", BENCHMARK)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


def scenario(simulation: Any, equal: int, **changes: Any) -> Any:
    """Candidates that are all equal to the baseline."""
    return simulation.Scenario(f"{equal} equal", (1.0,) * equal, **changes)


class TestPromise:
    """Whole searches with a known truth; the draws of a scenario are always the same ones."""

    @pytest.mark.parametrize(
        ("equal", "changes"),
        [
            (40, {}),
            (1, {"rule": Rule(max_seeds=8)}),
            (12, {"rule": Rule(max_seeds=3)}),
        ],
    )
    def test_equal_candidates_are_rarely_called_better(
        self, simulation: Any, equal: int, changes: dict[str, Any]
    ) -> None:
        found = simulation.simulate_races(scenario(simulation, equal, **changes), 1_000)
        assert found.wrong_better.upper <= 0.06 and found.wrong_separated.upper <= 0.06
        assert found.wrong_better.found > 5  # and the level is used

    def test_a_gap_of_five_percent_is_found_at_two_percent_of_noise_with_five_seeds_of_a_spec(
        self, simulation: Any
    ) -> None:
        found = simulation.simulate_races(simulation.power_scenario(0.02, 5), 500)
        assert found.better.lower >= 0.7 and found.wrong_better.found <= 5
        assert found.trainings <= 14

    @pytest.mark.parametrize(("equal", "baseline_seeds"), [(1, 3), (12, 3), (25, 8)])
    def test_trials_rarely_get_a_wrong_verdict_as_they_come_in(
        self, simulation: Any, equal: int, baseline_seeds: int
    ) -> None:
        *wrong, _ = simulation.simulate_trials(scenario(simulation, equal, baseline_seeds=baseline_seeds), 1_000)
        assert all(
            share.upper <= 0.045 for share in wrong
        )  # 2.5 % is promised; 3.4 % would be found in one of 20 cases
        assert wrong[0].found > 2


class TestWrongVersions:
    """What breaks when a part of the method is left out: the promise, by this very simulation."""

    @pytest.mark.parametrize(("max_seeds", "baseline_seeds"), [(2, 8), (3, 8)])
    def test_claims_on_the_seed_that_chose_the_finalist(
        self, simulation: Any, monkeypatch: pytest.MonkeyPatch, max_seeds: int, baseline_seeds: int
    ) -> None:
        def all_seeds(scores: Sequence[float | None], seeds: int) -> list[float | None]:
            return list(scores[:seeds])

        rule = Rule(finalists=1, max_seeds=max_seeds)
        searches = scenario(simulation, 40, rule=rule, baseline_seeds=baseline_seeds)
        # one finalist and one look use all of the 5 %: then 500 searches bound it by 6 % only in a fifth of cases
        assert simulation.simulate_races(searches, 500).wrong_better.lower <= 0.05
        monkeypatch.setattr(racing, "fresh", all_seeds)
        assert simulation.simulate_races(searches, 500).wrong_better.lower > 0.06

    def test_no_correction_for_looks(self, simulation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        searches = scenario(simulation, 1, rule=Rule(max_seeds=8))
        assert simulation.simulate_races(searches, 500).wrong_better.upper <= 0.06
        monkeypatch.setattr(Race, "share", lambda race, look: 1.0)
        assert simulation.simulate_races(searches, 500).wrong_better.lower > 0.06

    def test_no_correction_for_finalists(self, simulation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def uncorrected(*args: Any, **kwargs: Any) -> Race:
            return replace(plan_race(*args, **kwargs), comparisons=1)

        searches = scenario(simulation, 40, rule=Rule(finalists=6, error_rate=0.05))
        assert simulation.simulate_races(searches, 500).wrong_better.upper <= 0.06
        monkeypatch.setattr(simulation, "plan_race", uncorrected)
        assert simulation.simulate_races(searches, 500).wrong_better.lower > 0.06

    def test_no_correction_for_looks_at_who_is_apart(self, simulation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        gaps = (0.95, 0.95, *(1.1,) * 10)  # the hardest truth to tell finalists apart in: two that are equal
        searches = simulation.Scenario("two alike", gaps, cv=0.01, rule=Rule(max_seeds=8))
        assert simulation.simulate_races(searches, 500).wrong_separated.upper <= 0.065
        monkeypatch.setattr(Race, "separation_alpha", property(lambda race: race.rule.error_rate))
        assert simulation.simulate_races(searches, 500).wrong_separated.lower > 0.06

    def test_trials_without_a_correction_for_rounds(self, simulation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        right = simulation.trial_verdicts
        searches = scenario(simulation, 25, baseline_seeds=8)
        assert all(share.upper <= 0.06 for share in simulation.simulate_trials(searches, 300)[:4])
        monkeypatch.setattr(simulation, "trial_verdicts", lambda *args: right(*args[:-1], 1))
        better, worse, _, worse_than_incumbent, _ = simulation.simulate_trials(searches, 300)
        assert better.lower > 0.06 and worse.lower > 0.06 and worse_than_incumbent.lower > 0.06


class TestBounds:
    def test_they_are_clopper_and_pearsons(self, simulation: Any) -> None:
        # none of n: 1 - 0.05^(1/n); the rule of three in the limit
        assert simulation.Share(0, 100).upper == pytest.approx(1 - 0.05**0.01, rel=1e-9)
        assert simulation.Share(100, 100).lower == pytest.approx(0.05**0.01, rel=1e-9)
        share = simulation.Share(3, 50)
        assert sum(
            math.comb(50, k) * share.upper**k * (1 - share.upper) ** (50 - k) for k in range(4)
        ) == pytest.approx(0.05)
        assert sum(
            math.comb(50, k) * share.lower**k * (1 - share.lower) ** (50 - k) for k in range(3)
        ) == pytest.approx(0.95)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_promise_holds_in_every_scenario_of_the_benchmark(simulation: Any) -> None:
    assert simulation.SEARCHES >= 5_000 and simulation.MOST_WRONG <= 0.06
    broken = simulation.report_races("races", simulation.SCENARIOS, simulation.SEARCHES)
    broken += simulation.report_trials("trials", simulation.TRIAL_SCENARIOS, simulation.SEARCHES)
    assert broken == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_gap_of_five_percent_is_found_in_most_of_the_searches(simulation: Any) -> None:
    assert simulation.report_power(simulation.SEARCHES) == []
