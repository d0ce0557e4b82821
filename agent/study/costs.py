"""What a rank study would train and compute, before anything is: ``rank-study --dry-run``."""

from pathlib import Path
from typing import Any

from agent.estimate.reference import ReferenceUse, reference_use
from agent.report.results import Result, Whole
from agent.study.arms import Arm, Study
from diffusion.cost.closed_form import BACKWARD_FACTOR, cost
from diffusion.settings import Strategy


class PlannedArm(Result):
    """The trainings of an arm."""

    arm: str
    strategy: Whole[Strategy]
    seed: int
    score_steps: list[int]
    protocol: str
    trainings: int
    macs: int


class PlannedStudy(Result):
    """``rank-study --dry-run --json``."""

    settings: dict[str, Any]
    study: str
    specs: list[str]
    metric: str
    arms: list[PlannedArm]
    macs: int
    reference: ReferenceUse | None
    """the features of the real images, as in `run --dry-run`"""


def planned_costs(study: Study, settings: dict[str, Any], out: Path) -> PlannedStudy:
    """What a study would compute, its trainings in `out`, beside the settings with their sources."""
    rows = [
        PlannedArm(
            arm=arm.name,
            strategy=arm.strategy,
            seed=arm.seed,
            score_steps=list(arm.score_steps),
            protocol=arm.protocol.fingerprint,
            trainings=len(study.specs),
            macs=_macs(study, arm),
        )
        for arm in study.arms
    ]
    return PlannedStudy(
        settings=settings,
        study=study.name,
        specs=[str(spec) for spec in study.specs],
        metric=study.arms[0].protocol.score.metric,
        arms=rows,
        macs=sum(row.macs for row in rows),
        reference=reference_use(study.arms[0].planned, out),
    )


def _macs(study: Study, arm: Arm) -> int:
    """The multiply-accumulates of an arm's trainings and scores."""
    settings, score = arm.protocol.settings, arm.protocol.score
    size = (settings.family, settings.resolution, settings.channels)
    each = sum(cost(spec, *size).macs.by(arm.planned.config.search.count) for spec in study.specs)
    trained = BACKWARD_FACTOR * arm.strategy.train_steps * arm.strategy.batch_size
    return each * (trained + len(arm.score_steps) * score.num_images * score.sampling_steps)
