"""What a race has shown: who won, against whom, and what may be recommended."""

from dataclasses import dataclass

from diffusion.statistics.noise import Verdict, verdict
from diffusion.statistics.racing import AllScores, Out, Race, Seen, claim_at, mean_then_text, seen_by, standing


@dataclass(frozen=True)
class Conclusion:
    """What a race has shown."""

    winner: str | None  # the best of the finalists left, by fresh seeds alone
    baseline: Verdict | None  # the winner against the baseline
    runner_up: str | None  # the best of the other finalists, also of those that fell out
    separation: Verdict | None  # the winner against the runner-up
    separated: bool | None  # whether the winner is better than every other finalist; None if there is none
    recommended: str  # the winner if it is better than the baseline, otherwise the baseline
    why: str


def conclusion(race: Race, scores: AllScores) -> Conclusion:
    """What may be said at the last look; also of a race that was stopped before its end.

    Raises:
        ValueError: a score of zero or below.
    """
    now = standing(race, scores)
    if not (now.look and now.field):
        reason = now.ended or f"the race has not come to its first look, at {race.looks[0]} fresh seeds each"
        return Conclusion(None, None, None, None, None, race.baseline, f"{race.baseline}, the baseline: {reason}")
    seen, winner = seen_by(race, scores, now.seeds), now.field[0]
    claim = claim_at(race, seen, winner, now.look)
    others = sorted((spec for spec in race.finalists if spec != winner), key=lambda s: mean_then_text(s, seen.fresh[s]))
    apart = [_apart(race, seen, winner, spec, now.eliminated.get(spec)) for spec in others]
    separated = all(each.answer == "better" for each in apart) if apart else None
    runner_up, separation = (others[0], apart[0]) if others else (None, None)
    beaten = claim.answer == "better"
    if beaten:
        why = f"{winner} is better than the baseline: {claim.why}"
    else:
        why = f"{race.baseline}, the baseline: nothing beat it beyond noise; the best finalist is {winner}, {claim.why}"
    if others:
        why += f"; {'' if separated else 'not '}separated from the other finalists"
    return Conclusion(winner, claim, runner_up, separation, separated, winner if beaten else race.baseline, why)


def _apart(race: Race, seen: Seen, winner: str, other: str, out: Out | None) -> Verdict:
    """The winner against another finalist: as it was when it beat that one out, or else at the last look."""
    if out and out.verdict and out.by == winner:
        return out.verdict
    return verdict(seen.noise, seen.fresh[winner], seen.fresh[other], alpha=race.separation_alpha)
