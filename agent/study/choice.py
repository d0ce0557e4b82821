"""What a rank study chose, as the settings of a search: the strategy, and the cheapest score that keeps the ranking.

The rapid strategy is taken unless its interval lies below the standard one's: that it ranks worse was shown then. A
score is taken only where its own rank correlation was measured (`agent.study.report`). What was asked for by an option
stays as it was asked for.
"""

from typing import Any

from agent.config.settings import GROUPS, RunConfig
from agent.config.sources import Resolved
from agent.study.arms import RAPID, STANDARD, Study
from agent.study.measure import config_of, of_something_else
from agent.study.report import MeasuredStudy, measured_study
from agent.study.store import stored_study
from diffusion.settings import Strategy
from memory.connection import opened
from memory.searches import find_protocol

SAME = (
    *(name for name in GROUPS["data"].model_fields if name != "data_dir"), "feature_network", "feature_weights",
    "reference_split",
)  # fmt: skip  # what was found holds only where these are the study's


def as_studied(settings: Resolved, name: str | None) -> Resolved:
    """The settings with what a study chose, and a sentence for each choice; as they are without one.

    Raises:
        UserError: there is no such study, its full trainings are missing, or something else is to be searched.
    """
    if name is None:
        return settings
    config = settings.config
    with opened(config.places.db, read_only=True) as db:
        study = stored_study(db, name)
        found = measured_study(db, study)
        cheapest = found.cheapest_score
        score = find_protocol(db, cheapest.protocol).score if cheapest and cheapest.protocol else None
    strategy, why = chosen_strategy(study, found)
    chosen: dict[str, Any] = strategy.model_dump()
    notes = [why]
    if cheapest and score:
        chosen |= {field: getattr(score, field) for field in ("num_images", "sampler", "sampling_steps")}
        notes.append(f"the score is that of the study {study.name}: {cheapest.why}")
    chosen = {field: value for field, value in chosen.items() if settings.sources[field] != "option"}
    source = f"study {study.name}"
    asked = {field: config.flat()[field] for field, source in settings.sources.items() if source == "option"}
    taken = config_of(settings, study).changed(**(chosen | asked))
    _check_same(study, taken)
    before = config.flat()
    changed = {field for field, value in taken.flat().items() if value != before[field]}
    return Resolved(taken, settings.sources | dict.fromkeys(changed | chosen.keys(), source), tuple(notes))


def chosen_strategy(study: Study, found: MeasuredStudy) -> tuple[Strategy, str]:
    """The rapid strategy, unless it was shown to rank worse, and a sentence that says so."""
    end = next(gap for gap in found.differences if gap.a.step == study.arm(RAPID).score_steps[-1])
    tau = end.kendall
    is_worse = tau is not None and tau.high < 0
    arm = study.arm(STANDARD if is_worse else RAPID)
    return arm.strategy, f"the strategy is the {arm.name} one of the study {study.name}: {end.conclusion}"


def _check_same(study: Study, config: RunConfig) -> None:
    """Refuse a search of other data, sizes or networks than those of the study.

    Raises:
        UserError: it names the difference.
    """
    here, there = config.flat(), study.arm(STANDARD).planned.config.flat()
    for field in SAME:
        ours, theirs = here[field], there[field]
        if ours != theirs:
            raise of_something_else(study, f"{field} is {theirs} there and {ours} here")
