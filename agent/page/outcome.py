"""What a search is for and what came of it, in a sentence each with its interval; the race it rests on."""

from collections.abc import Iterable, Sequence

from sqlite_utils import Database

from agent.page.data import Point, Race, Said, Seed
from agent.page.points import ranked
from agent.report.tables import score, span
from agent.report.words import NO_SCORE
from agent.search.raced import field_in
from diffusion.settings import Protocol
from diffusion.units import format_size
from memory.searches import SearchRow

SINGLE = (
    "Each candidate was trained once and the best of many single scores was lucky: differences may be noise. "
    "`confirm` trains the best again in full."
)
FIRST = "The intervals of first scores are of the noise of retraining alone; the best of many lies too low."
NO_INTERVAL = "no interval: the noise is unmeasured"


def race_of(db: Database, search: SearchRow, seeds: Sequence[Seed]) -> Race | None:
    """What the race of a search has shown; None where none was begun."""
    raced = [each for each in seeds if each.is_race]
    if search.kind != "run" or not raced:
        return None
    field = field_in(db, search)
    if field is None:
        return None
    found, times = field.conclusion, sorted(each.finished for each in raced if each.finished)
    claim = found.baseline
    return Race(
        finalists=list(field.race.finalists),
        begun=times[0] if times else None,
        ended=times[-1] if times else None,
        recommended=found.recommended,
        verdict=claim.answer if claim else "unmeasured",
        ratio=claim.ratio if claim else None,
        ratio_low=claim.low if claim else None,
        ratio_high=claim.high if claim else None,
        why=found.why,
    )


def said_of(search: SearchRow, protocol: Protocol, trials: Sequence[Point], race: Race | None) -> Said:
    """Goal and result of a search whose trials compare with its baseline."""
    best = next(iter(ranked(trials)), None)
    baseline = next((each for each in trials if each.round == 0 and each.score is not None), None)
    goal = goal_of(search, protocol)
    if best is None:
        return Said(goal=goal, result=NO_SCORE, more=[], recommended=None, is_measured=False)
    if race is not None and race.ratio is not None:
        return _raced(goal, protocol, trials, race)
    more = [FIRST if best.low is not None else SINGLE] if len(ranked(trials)) > 1 else []
    return Said(
        goal=goal,
        result=_first_scores(search, protocol.score.metric, best, baseline),
        more=more,
        recommended=best.trial,
        is_measured=False,
    )


def goal_of(search: SearchRow, protocol: Protocol) -> str:
    """What the search is for."""
    settings, budget = protocol.settings, f"{format_size(search.budget_macs)} MACs ({search.count_convention})"
    where = f"{settings.dataset} at {settings.resolution}×{settings.resolution}"
    metric = protocol.score.metric
    return {
        "run": f"Find the UNet with the lowest {metric} on {where} within {budget}, in {search.rounds} rounds after "
        "the baseline's.",
        "train": f"Train one network on {where} by hand and score it by {metric}.",
        "confirm": f"Train the best networks for {where} in full, with several seeds, and score them by {metric}.",
        "study": f"Measure how well cheap trainings rank networks on {where} by {metric}: one arm of the study.",
        "measurement": f"Measure how well one training strategy ranks networks on {where} by {metric}.",
        "strategy": f"Find a cheap training strategy for {where} that ranks networks as the standard one does.",
        "compress": f"Make a trained network for {where} cheaper at the lowest {metric}, block by block.",
    }[search.kind]


def _first_scores(search: SearchRow, metric: str, best: Point, baseline: Point | None) -> str:
    """The best by its only score, and the baseline beside it."""
    head = "Best" if search.state == "finished" else "Best so far"
    if baseline is None or best.trial == baseline.trial:
        beaten = "" if baseline is None else ", the baseline: nothing that was tried has a better score"
        return f"{head}: {best.spec} with {metric} {between(best)}{beaten}."
    verdict = {
        "better": "better than the baseline beyond noise",
        "worse": "worse than the baseline beyond noise",
        "inconclusive": "not told apart from the baseline by its first score, among so many",
    }.get(best.verdict or "", "not compared with the baseline: one training each")
    return f"{head}: {best.spec} with {metric} {between(best)}, the baseline {between(baseline)}; {verdict}."


def _raced(goal: str, protocol: Protocol, trials: Sequence[Point], race: Race) -> Said:
    """What the race supports: the recommended network by fresh seeds alone."""
    by_spec = {each.spec: each for each in trials}
    chosen, ratio = by_spec.get(race.recommended), f"{race.ratio:.3g} × the baseline's {protocol.score.metric}"
    interval = "" if race.ratio_low is None else f" (95 % and more: {race.ratio_low:.3g} to {race.ratio_high:.3g})"
    if race.verdict == "better":
        result = f"Recommended: {race.recommended}, which has {ratio}{interval} by trainings with fresh seeds."
    else:
        result = f"Recommended: the baseline {race.recommended}; the best finalist has {ratio}{interval}, which is no "
        result += "clear difference."
    return Said(
        goal=goal,
        result=result,
        more=[f"The race: {race.why}."],
        recommended=chosen.trial if chosen else None,
        is_measured=True,
    )


def best_of(said: Said, trials: Iterable[Point]) -> Point | None:
    """The trial that the result is about, or else the one of the best score."""
    chosen = next((each for each in trials if each.trial == said.recommended), None)
    return chosen or next(iter(ranked(trials)), None)


def beside_baseline(best: Point | None, trials: Iterable[Point], baseline: Point | None) -> Point | None:
    """What is shown beside the baseline: the best, or where that is the baseline the best of the others."""
    return next((each for each in ranked(trials) if each.round), None) if best is baseline else best


def between(trial: Point) -> str:
    """A score with its interval in words."""
    interval = NO_INTERVAL if trial.low is None else f"{span(trial.low, trial.high)}, 95 %"
    return f"{score(trial.score)} ({interval})"
