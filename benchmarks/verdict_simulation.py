"""How often verdicts are wrong, over simulated searches with known truth and noise.

``python benchmarks/verdict_simulation.py`` simulates 5,000 searches for every row of its tables. Every search is judged
by the code that judges real ones (`diffusion.statistics.noise`, `diffusion.statistics.racing`), from scores that are
log-normal around a known truth. The first table is of the conclusions of races, repeated looks and the choice of the
best of many included; the second of the verdicts that trials get as they come in; the third of how often a true gap of
5 % is found.

Fails when, in any scenario, the upper 95 % bound (Clopper-Pearson, one-sided) of the share of searches with a wrong
claim is above 6 %, or when fewer than half of the searches at 2 % of noise find the gap. What stands under "beyond the
promise" breaks an assumption of the statistics on purpose, and fails nothing.
"""

import argparse
import math
import os
import platform
import statistics
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from diffusion.cost.throughput import device_name
from diffusion.statistics.noise import Scores, Verdicts, log_scores, pooled_noise, trial_verdicts
from diffusion.statistics.race_conclusion import Conclusion, conclusion
from diffusion.statistics.racing import DEFAULT, Race, Rule, plan_race, standing

SEARCHES = 5_000
MOST_WRONG = 0.06  # upper bound of the share of searches
GAP = 0.95  # the true score of a candidate over the baseline's
CVS = (0.01, 0.02, 0.09)  # FID on large data sets twice, the embedded digits
LEVEL = 20.0  # the baseline's true score; nothing depends on it
BASELINE = "baseline"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scenario:
    """Searches of one kind."""

    name: str
    gaps: tuple[float, ...]  # the candidates' true scores over the baseline's
    cv: float = 0.02
    spread: float = 0.0  # log-standard deviation by which the gaps differ between searches
    baseline_seeds: int = 3
    rule: Rule = DEFAULT
    allowance: int = 99
    failing: float = 0.0  # share of trainings without a score
    unequal: float = 0.0  # log-standard deviation of the noise between specs
    tails: float | None = None  # degrees of freedom of the noise, if it is Student's
    times: int = 1  # so many times the searches, where a level that is used up would cross the limit by chance
    anew: int = 0  # further baseline seeds, after each of which every trial is judged anew

    def truths(self, rng: np.random.Generator, searches: int) -> Array:  # (S, 1 + candidates), the baseline first
        """The true scores."""
        varied = np.array(self.gaps) * np.exp(rng.normal(0, self.spread, (searches, len(self.gaps))))
        return LEVEL * np.concatenate([np.ones((searches, 1)), varied], axis=1)

    def scores(self, rng: np.random.Generator, truths: Array) -> Array:  # (S, 1 + C) → (S, 1 + C, seeds)
        """What trainings with one seed after the other score; NaN where they fail."""
        shape = (*truths.shape, max(self.rule.max_seeds, self.baseline_seeds + self.anew))
        if self.tails:
            draws = rng.standard_t(self.tails, shape) / np.sqrt(self.tails / (self.tails - 2))  # of variance 1
        else:
            draws = rng.normal(size=shape)
        log_std = np.sqrt(np.log1p(self.cv**2)) * np.exp(rng.normal(0, self.unequal, (*truths.shape, 1)))
        found: Array = truths[..., None] * np.exp(log_std * draws)
        found[rng.random(shape) < self.failing] = np.nan
        return found


class Share(NamedTuple):
    """So many of so many searches."""

    found: int
    searches: int

    @property
    def upper(self) -> float:
        """The one-sided 95 % bound of Clopper and Pearson from above."""
        return 1.0 if self.found == self.searches else float(beta.ppf(0.95, self.found + 1, self.searches - self.found))

    @property
    def lower(self) -> float:
        """The one-sided 95 % bound of Clopper and Pearson from below."""
        return 0.0 if self.found == 0 else float(beta.ppf(0.05, self.found, self.searches - self.found + 1))

    def __str__(self) -> str:
        return f"{self.found / self.searches:6.2%} (≤ {self.upper:6.2%})"


class Races(NamedTuple):
    """What the races of a scenario came to."""

    better: Share  # a spec is called better than the baseline
    wrong_better: Share  # and is not
    separated: Share  # the winner is called better than the other finalists
    wrong_separated: Share  # and is not
    trainings: float  # beyond first scores and the baseline's replicas, on average


def simulated(scenario: Scenario, searches: int) -> Iterator[tuple[dict[str, float], dict[str, Scores]]]:
    """Truths and scores by spec, one search after the other; the same for the same scenario."""
    rng = np.random.default_rng(zlib.crc32(repr(scenario).encode()))
    truths = scenario.truths(rng, searches)
    specs = [BASELINE] + [f"c{number:02d}" for number in range(len(scenario.gaps))]
    for true, found in zip(truths.tolist(), scenario.scores(rng, truths).tolist(), strict=True):
        yield dict(zip(specs, true, strict=True)), dict(zip(specs, found, strict=True))


def simulate_races(scenario: Scenario, searches: int = SEARCHES) -> Races:
    """Race the candidates of simulated searches; a spec that is equal to another is not better."""
    searches *= scenario.times
    counts, trainings = np.zeros(4, dtype=int), 0
    for truth, scores in simulated(scenario, searches):
        race, found = _raced(scenario, scores)
        if found.winner and found.baseline:
            claimed, winner = found.baseline.answer == "better", truth[found.winner]
            best = winner < min((truth[spec] for spec in race.finalists if spec != found.winner), default=np.inf)
            apart = found.separated is True
            counts += np.array([claimed, claimed and winner >= truth[BASELINE], apart, apart and not best])
        trainings += sum(standing(race, scores).seeds.values()) - len(race.finalists) - scenario.baseline_seeds
    better, wrong_better, separated, wrong_separated = (Share(int(count), searches) for count in counts)
    return Races(better, wrong_better, separated, wrong_separated, trainings / searches)


def _raced(scenario: Scenario, scores: dict[str, Scores]) -> tuple[Race, Conclusion]:
    """The race of a search, and what came of it."""
    firsts = {spec: found[0] for spec, found in scores.items() if spec != BASELINE}
    start = scores[BASELINE][: scenario.baseline_seeds]
    race = plan_race(firsts, BASELINE, start, allowance=scenario.allowance, rule=scenario.rule)
    return race, conclusion(race, scores)


def simulate_either(scenario: Scenario, searches: int = SEARCHES) -> Share:
    """In how many searches a trial's verdict or the race calls a spec better than the baseline that is not."""
    wrong = 0
    for truth, scores in simulated(scenario, searches):
        start = scores[BASELINE][: scenario.baseline_seeds]
        claimed = [spec for spec, _, said in _judged(scores, start) if said.baseline.answer == "better"]
        _, found = _raced(scenario, scores)
        if found.winner and found.baseline and found.baseline.answer == "better":
            claimed.append(found.winner)
        wrong += any(truth[spec] >= truth[BASELINE] for spec in claimed)
    return Share(wrong, searches)


class Trials(NamedTuple):
    """In how many searches at least one trial got a wrong verdict."""

    better: Share  # than the baseline
    worse: Share
    better_than_incumbent: Share
    worse_than_incumbent: Share
    conclusive: float  # share of the verdicts against the baseline that say better or worse


def simulate_trials(scenario: Scenario, searches: int = SEARCHES) -> Trials:
    """Give every trial of simulated searches its verdicts as it comes in."""
    counts, conclusive = np.zeros(4, dtype=int), 0
    for truth, scores in simulated(scenario, searches):
        wrong = np.zeros(4, dtype=bool)
        for seeds in range(scenario.baseline_seeds, scenario.baseline_seeds + scenario.anew + 1):
            for spec, incumbent, said in _judged(scores, scores[BASELINE][:seeds]):
                for place, (one, other) in enumerate(((said.baseline, BASELINE), (said.incumbent, incumbent))):
                    wrong[2 * place] |= one.answer == "better" and truth[spec] >= truth[other]
                    wrong[2 * place + 1] |= one.answer == "worse" and truth[spec] <= truth[other]
                conclusive += said.baseline.answer in ("better", "worse")
        counts += wrong
    better, worse, better_incumbent, worse_incumbent = (Share(int(count), searches) for count in counts)
    verdicts = searches * len(scenario.gaps) * (scenario.anew + 1)
    return Trials(better, worse, better_incumbent, worse_incumbent, conclusive / verdicts)


def _judged(scores: dict[str, Scores], baseline: Scores) -> Iterator[tuple[str, str, Verdicts]]:
    """Trial after trial: its spec, the incumbent's, and its verdicts."""
    noise, best = pooled_noise({BASELINE: baseline}), BASELINE
    lowest = math.exp(statistics.fmean(log_scores(baseline)))
    candidates = [spec for spec in scores if spec != BASELINE]
    for spec in candidates:
        score = scores[spec][0]
        incumbent = baseline if best == BASELINE else scores[best][:1]
        yield spec, best, trial_verdicts(noise, score, baseline, incumbent, len(candidates))
        if score is not None and score < lowest:
            best, lowest = spec, score


def kinds(cv: float) -> list[Scenario]:
    """Searches of all kinds at one noise."""
    return [
        *(Scenario(f"{count} equal to the baseline", (1.0,) * count, cv) for count in (1, 5, 12, 40)),
        Scenario("12 from 0.2 % to 2.4 % worse", tuple(1 + 0.002 * step for step in range(1, 13)), cv),
        Scenario("10 equal, 10 worse by 2 %", (1.0, 1.02) * 10, cv),
        Scenario("1 better by 2 %, 19 equal", (0.98, *(1.0,) * 19), cv),
        Scenario("25 spread by 3 %", (1.0,) * 25, cv, spread=0.03),
        Scenario("2 better by 5 %, 10 worse by 10 %", (0.95, 0.95, *(1.1,) * 10), cv),
    ]


EQUAL = Scenario("12 equal", (1.0,) * 12)
ONE_LOOK = Scenario("40 equal", (1.0,) * 40, baseline_seeds=8, times=4)
RULES = [  # in the least favourable truth
    replace(EQUAL, name="12 equal, 5 baseline seeds", baseline_seeds=5),
    replace(EQUAL, name="12 equal, 8 seeds of a spec", rule=Rule(max_seeds=8)),
    replace(EQUAL, name="12 equal, 3 seeds of a spec", rule=Rule(max_seeds=3)),
    replace(EQUAL, name="12 equal, 1 finalist", rule=Rule(finalists=1)),
    replace(EQUAL, name="12 equal, 6 finalists", rule=Rule(finalists=6)),
    replace(EQUAL, name="12 equal, 7 trainings allowed", allowance=7),
    replace(EQUAL, name="12 equal, 10 % of trainings fail", failing=0.1),
    Scenario("1 equal, 8 seeds of a spec", (1.0,), rule=Rule(max_seeds=8)),
    replace(ONE_LOOK, name="40 equal, 1 finalist, 2 seeds of a spec", rule=Rule(finalists=1, max_seeds=2)),
    replace(ONE_LOOK, name="40 equal, 1 finalist, 3 seeds of a spec", rule=Rule(finalists=1, max_seeds=3)),
    Scenario("2 better by 5 %, 10 worse, 8 seeds of a spec", (0.95, 0.95, *(1.1,) * 10), 0.01, rule=Rule(max_seeds=8)),
]
SCENARIOS = [scenario for cv in CVS for scenario in kinds(cv)] + RULES
TRIAL_SCENARIOS = [
    *(scenario for cv in CVS for scenario in kinds(cv)),
    *(replace(EQUAL, name=f"12 equal, {seeds} baseline seeds", baseline_seeds=seeds) for seeds in (5, 8)),
    replace(EQUAL, name="40 equal, 8 baseline seeds", gaps=(1.0,) * 40, baseline_seeds=8),
]
ANEW = [  # more than one verdict on each trial
    replace(EQUAL, name=f"{count} equal, judged anew at 3, 4, 5, 6 baseline seeds", gaps=(1.0,) * count, anew=3)
    for count in (1, 12, 25)
]
BEYOND = [  # assumptions that are broken
    replace(EQUAL, name="12 equal, noise differs by e^±0.4 between specs", unequal=0.4),
    replace(EQUAL, name="12 equal, Student's noise of 4 degrees", tails=4.0),
]


def power_scenario(cv: float, max_seeds: int) -> Scenario:
    """One candidate that is 5 % better than the baseline, and eleven that are not."""
    return Scenario(f"{max_seeds} seeds", (GAP, *(1.0,) * 11), cv, rule=Rule(max_seeds=max_seeds))


def report_races(title: str, scenarios: list[Scenario], searches: int) -> list[str]:
    """Print the table of conclusions; the scenarios that break the promise."""
    print(f"\n{title}\n{'searches':<50}  CV  wrong better       wrong separated     trainings")
    broken = []
    for scenario in scenarios:
        found = simulate_races(scenario, searches)
        wrong = found.wrong_better, found.wrong_separated
        print(f"{scenario.name:<50} {scenario.cv:3.0%}  {wrong[0]}  {wrong[1]}  {found.trainings:6.1f}", flush=True)
        broken += [f"{scenario.name} ({scenario.cv:.0%}): {share}" for share in wrong if share.upper > MOST_WRONG]
    return broken


def report_trials(title: str, scenarios: list[Scenario], searches: int) -> list[str]:
    """Print the table of verdicts on trials; the scenarios that break the promise."""
    print(f"\n{title}: searches with any wrong verdict, and the share of verdicts that are not inconclusive")
    print(f"{'':55}  better, baseline   worse, baseline    better, incumbent  worse, incumbent   conclusive")
    broken = []
    for scenario in scenarios:
        *wrong, conclusive = simulate_trials(scenario, searches)
        shares = "  ".join(map(str, wrong))
        print(f"{scenario.name:<50} {scenario.cv:3.0%}  {shares}  {conclusive:6.1%}", flush=True)
        broken += [f"{scenario.name} ({scenario.cv:.0%}): {share}" for share in wrong if share.upper > MOST_WRONG]
    return broken


def report_either(searches: int) -> list[str]:
    """Print in how many searches anything at all is wrongly called better; complaints about those that are too many."""
    print("\nAnything wrongly called better than the baseline in a search, by a trial's verdict or by the race")
    broken = []
    for scenario in (one for cv in CVS for one in kinds(cv)):
        wrong = simulate_either(scenario, searches)
        print(f"{scenario.name:<50} {scenario.cv:3.0%}  {wrong}", flush=True)
        broken += [f"{scenario.name} ({scenario.cv:.0%}): {wrong}"] if wrong.upper > MOST_WRONG else []
    return broken


def report_power(searches: int) -> list[str]:
    """Print how often a gap of 5 % is found; the scenario that should find it and does not."""
    print("\nA true gap of 5 %, one of 12 candidates: called better than the baseline / separated / trainings")
    print("CV   " + "".join(f"{seeds:>12} seeds      " for seeds in range(3, 9)))
    broken = []
    for cv in CVS:
        row = {seeds: simulate_races(power_scenario(cv, seeds), searches) for seeds in range(3, 9)}
        cells = [
            f"{one.better.found / searches:6.1%} / {one.separated.found / searches:5.1%} / {one.trainings:4.1f}"
            for one in row.values()
        ]
        print(f"{cv:3.0%}  " + "  ".join(cells), flush=True)
        if cv == 0.02 and row[DEFAULT.max_seeds].better.lower < 0.5:
            broken.append(f"power at {cv:.0%}: {row[DEFAULT.max_seeds].better}")
    return broken


def smallest_ratios() -> None:
    """Print from which ratio on a trial's first score is called better than the baseline."""
    print("\nA trial's first score is called better than the baseline below this ratio of the two, at a measured CV of")
    print("rounds  baseline seeds  " + "".join(f"{cv:>8.0%}" for cv in CVS))
    for rounds in (1, 12, 25, 40):
        for seeds in (3, 5, 8):
            print(f"{rounds:6}  {seeds:14}  " + "".join(f"{_edge(cv, seeds, rounds):8.3f}" for cv in CVS))


def _edge(cv: float, seeds: int, rounds: int) -> float:
    """By bisection of the answer itself."""
    spread = np.sqrt(np.log1p(cv**2)) * np.linspace(-1, 1, seeds)
    baseline = np.exp(spread / np.std(spread, ddof=1) * np.sqrt(np.log1p(cv**2))).tolist()
    noise, better, not_better = pooled_noise({BASELINE: baseline}), 1e-9, 1.0
    while not_better / better > 1.0001:
        middle = float(np.sqrt(better * not_better))
        answer = trial_verdicts(noise, middle, baseline, (), rounds).baseline.answer
        better, not_better = (middle, not_better) if answer == "better" else (better, middle)
    return better


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=SEARCHES)
    searches = parser.parse_args().searches
    print(f"{date.today()}, {device_name('cpu')}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{searches:,} searches a row; in brackets the upper 95 % bound; {DEFAULT}")
    parts: list[Callable[[], list[str]]] = [
        lambda: report_races("Conclusions of races", SCENARIOS, searches),
        lambda: report_trials("Trials as they come in", TRIAL_SCENARIOS, searches),
        lambda: report_either(searches),
        lambda: report_power(searches),
    ]
    broken = [complaint for part in parts for complaint in part()]
    report_races("Beyond the promise: races", BEYOND, searches)
    report_trials("Beyond the promise: trials", BEYOND + ANEW, searches)
    smallest_ratios()
    if broken:
        raise SystemExit("\n".join(broken))


if __name__ == "__main__":
    main()
