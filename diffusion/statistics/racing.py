"""Racing: the best candidates of a search are trained again with other seeds before one of them is called best.

A candidate was picked as the best of many because its first score was lucky, so that score proves nothing. The race
takes the first scores to choose its finalists and never looks at them again: all that is claimed rests on fresh seeds,
which nobody had seen when the finalists were chosen, and on the baseline's replicas. In each wave every finalist that
is left gets one more training seed, and the baseline gets one too until it has as many as a spec may have. After a wave
there is a look: who is clearly worse than the leader or than the baseline is out, and the race ends early when one is
left that is better than the baseline.

**What is promised:** at most 3 % of races (`Rule.error_rate`) call a spec better than the baseline that is not, however
many candidates the search had and whenever the race is stopped. With the 2.5 % that the verdicts of trials may spend
(`diffusion.statistics.noise`) that is less than 6 % of searches in which anything is wrongly called better. At a look
with n of at most N fresh seeds each finalist is tested at the level error_rate × share(n) / finalists; the shares of
all looks add up to 1 (differences of (n / N)³: Kim & DeMets 1987, Biometrika 74, spending ρ = 3, little early and most
at the end). With the fresh seeds independent of how finalists were chosen, this is Bonferroni over finalists and looks,
a union bound. It takes a noise whose degrees of freedom do not depend on who is out; that they do costs nothing that
could be measured: see ``benchmarks/verdict_simulation.py``, which simulates whole searches with this code.

That the winner is *separated* from the other finalists is another claim with an error rate of its own, spent in equal
parts at all looks: it has beaten each of them, two-sided, when that one fell out or at the last look. The number of
finalists needs no correction, since a wrong winner would have to beat all of them (Gutmann & Maymin 1987, Annals of
Statistics 15; Hung & Fithian 2019, Annals of Statistics 47; across looks it is simulated). Candidates that were no
finalists are never compared.

All of it is a function of the plan and of the scores that are stored, so a killed race goes on exactly where it was.
Nothing is trained, stored or randomly drawn here, and no torch is imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from diffusion.statistics.noise import Noise, Scores, Verdict, log_scores, pooled_noise, verdict

AllScores = Mapping[str, Scores]
"""By spec, the scores of its training seeds 0, 1, 2 …; None for a training that failed, nothing for one to come."""

FIRST_LOOK = 2  # fresh seeds: with one, a finalist says nothing of the noise and little of itself
WORTH_A_RACE = 3  # fresh seeds each, before another finalist is let in


@dataclass(frozen=True)
class Rule:
    """How many are raced, for how long, and how sure a claim must be.

    Raises:
        ValueError: a number out of its range.
    """

    finalists: int = 3
    max_seeds: int = 5  # of one spec; a candidate's first, by which it was chosen, is one of them
    error_rate: float = 0.03  # share of races with a wrong "better", and of those with a wrong "separated"

    def __post_init__(self) -> None:
        if self.finalists < 1 or self.max_seeds < 2:
            raise ValueError(f"{self} needs at least 1 finalist and at least 2 seeds of a spec")
        if not 0 < self.error_rate < 0.5:  # it is of one side; both sides together stay below 1
            raise ValueError(f"{self} needs an error_rate between 0 and 1/2")


DEFAULT = Rule()


class Out(NamedTuple):
    """Why a finalist is out: who beat it, and how the one that beat it stands to it; both None if it has no score."""

    by: str | None
    verdict: Verdict | None

    @property
    def why(self) -> str:
        """One sentence with the numbers."""
        return f"{self.by} is clearly better: {self.verdict.why}" if self.verdict else "no fresh training has a score"


class Training(NamedTuple):
    """What to train next."""

    spec: str
    seed: int  # which of the spec's training seeds, counted from 0


@dataclass(frozen=True)
class Race:
    """The plan of a race, made once from what the search had found; it never changes."""

    baseline: str
    baseline_seeds: int  # the baseline's replicas before the race, also those that failed
    finalists: tuple[str, ...]  # the best first score first
    comparisons: int  # how many finalists the claims are corrected for
    fresh_seeds: int  # waves: how many each finalist gets if nothing ends the race before
    excluded: tuple[tuple[str, Out], ...]  # who was out before the first wave, and why
    rule: Rule = DEFAULT

    @property
    def looks(self) -> range:
        """After how many fresh seeds each there is a look."""
        return range(min(FIRST_LOOK, self.fresh_seeds), self.fresh_seeds + 1) if self.fresh_seeds else range(0)

    @property
    def separation_alpha(self) -> float:
        """The two-sided level at which finalists are told apart at each look."""
        return self.rule.error_rate / max(len(self.looks), 1)

    def share(self, look: int) -> float:
        """The share of the error rate that is spent at a look; those of all looks add up to 1."""
        before = look - 1 if look > self.looks[0] else 0
        return float((look**3 - before**3) / self.fresh_seeds**3)  # Kim & DeMets 1987, ρ = 3

    def baseline_count(self, wave: int) -> int:
        """How many replicas of the baseline there are after a wave."""
        return max(self.baseline_seeds, min(self.rule.max_seeds, self.baseline_seeds + wave))

    def wave(self, field: Sequence[str], wave: int) -> list[Training]:
        """The trainings of a wave, counted from 1, for the finalists that are left."""
        more = [Training(self.baseline, self.baseline_count(wave) - 1)]
        baseline = more if self.baseline_count(wave) > self.baseline_count(wave - 1) else []
        return baseline + [Training(spec, wave) for spec in field]


def plan_race(
    first_scores: Mapping[str, float | None],
    baseline: str,
    baseline_scores: Scores,
    *,
    allowance: int,
    rule: Rule = DEFAULT,
) -> Race:
    """Who races and for how long, so that even a race in which nobody falls out fits the allowance.

    The finalists have the best first scores, ties in the order of the spec's text. Those of them that are clearly worse
    than the best first score or than the baseline do not run. With a small allowance there are fewer finalists before
    there are fewer than three fresh seeds.

    Args:
        first_scores: of every candidate, the score of its first training seed; None if it failed.
        baseline: the baseline's spec, which is no candidate.
        baseline_scores: its replicas before the race; on a resumed search the same ones.
        allowance: how many further trainings there may be.
        rule: how many are raced, for how long, and how sure a claim must be.

    Raises:
        ValueError: a score of zero or below.
    """
    logs = {spec: log_scores([score]) for spec, score in first_scores.items() if spec != baseline}
    ranked = sorted((spec for spec in logs if logs[spec]), key=lambda spec: (logs[spec], spec))
    start = len(baseline_scores)
    count, waves = _extent(rule, min(rule.finalists, len(ranked)), start, allowance)
    race = Race(baseline, start, tuple(ranked[:count]), max(count, 1), waves if count else 0, (), rule)
    noise = pooled_noise({baseline: baseline_scores}, baseline)
    seen = Seen({spec: [first_scores[spec]] for spec in race.finalists}, list(baseline_scores), noise)
    out = _fallen(race, race.finalists, seen) if race.fresh_seeds else {}
    left = tuple(spec for spec in race.finalists if spec not in out)
    return replace(race, finalists=left, excluded=tuple(out.items()))


def _extent(rule: Rule, most: int, start: int, allowance: int) -> tuple[int, int]:
    """How many finalists race, and over how many waves; `start` replicas of the baseline are there."""

    def price(count: int, waves: int) -> int:
        return count * waves + max(0, min(rule.max_seeds - start, waves))

    worth = min(WORTH_A_RACE, rule.max_seeds - 1)
    count = next((count for count in range(most, 1, -1) if price(count, worth) <= allowance), min(most, 1))
    waves = next((waves for waves in range(rule.max_seeds - 1, 0, -1) if price(count, waves) <= allowance), 0)
    return count, waves


@dataclass(frozen=True)
class Standing:
    """Where a race stands."""

    next: tuple[Training, ...]  # to be trained now, in any order or side by side; empty when the race is over
    look: int  # fresh seeds of each finalist left at the last look; 0 before the first
    field: tuple[str, ...]  # who is left; after a look the best fresh scores first
    eliminated: Mapping[str, Out]  # who is out, and why
    seeds: Mapping[str, int]  # how many of each spec's seeds have been looked at
    ended: str | None  # why the race is over


def standing(race: Race, scores: AllScores) -> Standing:
    """Where the race stands, by the scores that are stored.

    Raises:
        ValueError: a score of zero or below.
    """
    field, eliminated, look = race.finalists, dict(race.excluded), 0
    seeds = dict.fromkeys(race.finalists, 1) | {race.baseline: race.baseline_seeds}
    for wave in range(1, race.fresh_seeds + 1):
        if not field:
            break
        missing = tuple(each for each in race.wave(field, wave) if len(scores.get(each.spec, ())) <= each.seed)
        if missing:
            return Standing(missing, look, field, eliminated, seeds, None)
        if wave not in race.looks:
            continue
        look = wave
        seeds |= dict.fromkeys(field, 1 + wave) | {race.baseline: race.baseline_count(wave)}
        seen = seen_by(race, scores, seeds)
        ordered = sorted(field, key=lambda spec: mean_then_text(spec, seen.fresh[spec]))
        out = _fallen(race, ordered, seen)
        eliminated |= out
        field = tuple(spec for spec in ordered if spec not in out)
        if len(field) == 1 and claim_at(race, seen, field[0], look).answer == "better":
            break
    return Standing((), look, field, eliminated, seeds, _ended(race, field, look))


class Seen(NamedTuple):
    """What claims may rest on: fresh seeds, the baseline's replicas and the noise of both."""

    fresh: dict[str, list[float | None]]
    baseline: list[float | None]
    noise: Noise | None


def fresh(scores: Scores, seeds: int) -> list[float | None]:
    """The scores that a claim may rest on, of the first so many seeds: all but the one that chose the spec."""
    return list(scores[1:seeds])


def seen_by(race: Race, scores: AllScores, seeds: Mapping[str, int]) -> Seen:
    """The scores by which a look decides; what else is stored, from other searches, plays no part."""
    found = {spec: fresh(scores[spec], seeds[spec]) for spec in race.finalists}
    baseline = list(scores.get(race.baseline, ())[: seeds[race.baseline]])
    return Seen(found, baseline, pooled_noise({race.baseline: baseline, **found}, race.baseline))


def mean_then_text(spec: str, scores: Scores) -> tuple[float, str]:
    """The best geometric mean first, no score last, ties in the order of the text."""
    logs = log_scores(scores)
    return (sum(logs) / len(logs) if logs else float("inf"), spec)


def _fallen(race: Race, ordered: Sequence[str], seen: Seen) -> dict[str, Out]:
    """Who is out at a look, beaten by the first in the order or by the baseline."""
    out = {}
    for spec in ordered:
        if not log_scores(seen.fresh[spec]):
            out[spec] = Out(None, None)
            continue
        rivals = {ordered[0]: seen.fresh[ordered[0]], race.baseline: seen.baseline}
        for rival, scores in rivals.items():
            said = verdict(seen.noise, scores, seen.fresh[spec], alpha=race.separation_alpha)
            if rival != spec and said.answer == "better":
                out[spec] = Out(rival, said)
                break
    return out


def claim_at(race: Race, seen: Seen, spec: str, look: int) -> Verdict:
    """A finalist against the baseline, corrected for all looks and all finalists."""
    alpha = 2 * race.rule.error_rate * race.share(look)  # the error rate is that of one side
    return verdict(seen.noise, seen.fresh[spec], seen.baseline, alpha=alpha, comparisons=race.comparisons)


def _ended(race: Race, field: Sequence[str], look: int) -> str:
    """Why there is nothing more to train."""
    if not (race.finalists or race.excluded):
        return "no candidate has a score"
    if not race.fresh_seeds:
        return "the allowance leaves no training for a race"
    if not field:
        return "no finalist is left: each is clearly worse than the baseline, or failed"
    if look < race.fresh_seeds:
        return f"after {look} fresh seeds {field[0]} is left, and it is better than the baseline"
    return f"every finalist left has its {race.fresh_seeds} fresh seeds"
