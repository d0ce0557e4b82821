"""The race at the end of a search: its best candidates and the baseline get more training seeds before one is called
best.

Who races, for how long and what may be claimed is `diffusion.statistics.racing`'s; here the scores are taken from the
memory and the trainings are made. All of it is a function of what is stored, so a killed race goes on where it was.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from sqlite_utils import Database

from diffusion.statistics.race_conclusion import Conclusion, conclusion
from diffusion.statistics.racing import Race, Standing, plan_race, standing
from memory.connection import opened
from memory.queries.records import best
from memory.replicas import seed_scores
from memory.trials import find_trial
from tools.context import SearchContext
from tools.jobs.replicate import replicate, usable


class Field(NamedTuple):
    """A race as the memory has it: its plan, the scores by training seed, and the trial of each spec."""

    race: Race
    scores: dict[str, list[float | None]]
    trials: dict[str, int]

    @property
    def standing(self) -> Standing:
        """What is to be trained next, or why it is over."""
        return standing(self.race, self.scores)

    @property
    def conclusion(self) -> Conclusion:
        """What may be said so far."""
        return conclusion(self.race, self.scores)


def field_of(db: Database, search: int, replicas: int, allowance: int) -> Field | None:
    """The race of a search after its rounds; None without a scored baseline or without a candidate.

    Args:
        db: the memory.
        search: which one.
        replicas: training seeds of the baseline before the race.
        allowance: how many further trainings there may be.
    """
    ranking = best(db, search, limit=None)
    baseline = next((row["spec"] for row in ranking if row["round"] == 0), None)
    candidates = [row for row in ranking if row["spec"] != baseline]
    if baseline is None or not candidates:
        return None
    scores = {spec: usable(found) for spec, found in seed_scores(db, search).items()}
    first = {row["spec"]: scores[row["spec"]][0] for row in candidates}
    race = plan_race(first, baseline, scores[baseline][:replicas], allowance=allowance)
    return Field(race, scores, {row["spec"]: row["trial"] for row in ranking})


def run_race(context: SearchContext, *, replicas: int, allowance: int, parallel: int) -> Conclusion | None:
    """Train what the race asks for, wave after wave, so many at once; what came of it.

    Raises:
        Interrupted: the user stops the search; the race goes on at the next resume.
    """
    is_told = False
    with ThreadPoolExecutor(parallel, "race") as pool:
        while True:
            with opened(context.db_path) as db:
                field = field_of(db, context.search, replicas, allowance)
                if field is None:
                    return None
                wave = field.standing.next
                trials = [find_trial(db, field.trials[each.spec]) for each in wave]
            if not wave:
                break
            if not is_told:
                context.report("race.started", finalists=list(field.race.finalists), seeds=field.race.fresh_seeds)
                is_told = True
            jobs = [
                pool.submit(replicate, context, trial, context.jobs.seed + each.seed)
                for trial, each in zip(trials, wave, strict=True)
            ]
            for job in jobs:
                job.result()
    found = field.conclusion
    context.report("race.finished", **event_of(found))
    return found


def event_of(found: Conclusion) -> dict[str, object]:
    """A conclusion as JSON has it."""
    claim = found.baseline
    return {
        "winner": found.winner,
        "recommended": found.recommended,
        "verdict": claim.answer if claim else "unmeasured",
        "ratio": claim.ratio if claim else None,
        "ratio_ci": None if claim is None or claim.low is None else [claim.low, claim.high],
        "runner_up": found.runner_up,
        "separated": found.separated,
        "why": found.why,
    }
