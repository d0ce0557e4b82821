"""The race at the end of a search: its best candidates and the baseline get more training seeds before one is called
best.

Who races, for how long and what may be claimed is `diffusion.statistics.racing`'s; here the scores are taken from the
memory and the trainings are made. All of it is a function of what is stored, so a killed race goes on where it was.
"""

from collections.abc import Callable
from typing import NamedTuple

from sqlite_utils import Database

from diffusion.spec import UNetSpec
from diffusion.statistics.race_conclusion import Conclusion, conclusion
from diffusion.statistics.racing import Race, Standing, plan_race, standing
from memory.queries.records import best
from memory.replicas import seed_scores
from memory.trials import find_trial
from tools.context import SearchContext
from tools.executors.machine import Share
from tools.jobs.replicate import replicate_all, usable


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


def run_race(
    context: SearchContext, *, replicas: int, allowance: int, share_of: Callable[[list[UNetSpec]], Share]
) -> Conclusion | None:
    """Train what the race asks for, wave after wave, those of a wave side by side; what came of it.

    Args:
        context: of the search.
        replicas: training seeds of the baseline before the race.
        allowance: how many further trainings there may be.
        share_of: how the trainings of a wave share the machine, by their specs.

    Raises:
        Interrupted: the user stops the search; the race goes on at the next resume.
    """
    is_told = False
    while True:
        db = context.db
        field = field_of(db, context.search, replicas, allowance)
        if field is None:
            return None
        if why := lacking(context, field.race):
            context.report("race.skipped", why=why)
            return None
        wave = [(find_trial(db, field.trials[each.spec]), each.seed) for each in field.standing.next]
        if not wave:
            break
        if not is_told:
            context.report("race.started", finalists=list(field.race.finalists), seeds=field.race.fresh_seeds)
            is_told = True
        asked = [(trial, context.jobs.seed + seed) for trial, seed in wave]
        replicate_all(context, asked, share_of([trial.spec for trial, _ in wave]))
    found = field.conclusion
    context.report("race.finished", **event_of(found))
    return found


def lacking(context: SearchContext, race: Race) -> str | None:
    """Why a table, where results are looked up, does not have the seeds that a race may ask for."""
    if (table := context.jobs.table) is None or not race.looks:
        return None
    needed = dict.fromkeys(race.finalists, 1 + race.fresh_seeds) | {
        race.baseline: race.baseline_count(race.fresh_seeds)
    }
    for spec, count in needed.items():
        if (seeds := table.seeds(UNetSpec.parse(spec))) < count:
            return f"a race takes up to {count} training seeds of {spec}, and the table {table.name} has {seeds}"
    return None


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
