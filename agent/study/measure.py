"""How well a strategy ranks, measured on the specs of a rank study and against the truth that it has trained already.

Each strategy is an arm of its own beside the study's, with the seed of its proxies, so that the truth stays disjoint
from it; it is a search in the same memory, and a measurement that was stopped goes on where it was. Strategies that
were chosen by what one truth says of them flatter themselves on it: whoever reports the best of several says so.
"""

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

from agent.config.kinds import MEASUREMENT
from agent.config.settings import GROUPS, HOW_JOBS_RUN, RunConfig
from agent.config.sources import Resolved
from agent.search.plan import Plan
from agent.study.arms import STANDARD, Arm, Study
from agent.study.columns import column, truth_in
from agent.study.report import proxy_row
from agent.study.run import play_arm
from agent.study.store import open_arm, protocol_differences, stored_study
from diffusion.errors import UserError
from diffusion.settings import Strategy, choose_sampling
from memory.connection import opened
from memory.strategies import Measured, strategy_fingerprint
from tools.errors import AllowanceSpent, Interrupted, JobFailed

FROM_STUDY = (
    *GROUPS["data"].model_fields, *GROUPS["score"].model_fields, "space", "budget", "count", "baseline",
)  # fmt: skip  # settings that a search on a study takes from it, unless they are asked for


def study_of(db_path: Path, name: str, config: RunConfig | None = None) -> Study:
    """A study that strategies can be measured on; with `config`, its trainings run as that says.

    Raises:
        UserError: there is none, or the full training of half of its specs is missing.
    """
    overrides = None if config is None else {field: config.flat()[field] for field in ("db", *HOW_JOBS_RUN)}
    with opened(db_path, read_only=True) as db:
        study = stored_study(db, name, overrides)
        truth_in(db, study)
    return study


def config_of(settings: Resolved, study: Study) -> RunConfig:
    """The settings of a search on a study: its data, sizes, networks and standard strategy, unless asked for.

    A preset that nobody named is not asked for.
    """
    config, standard = settings.config, study.arm(STANDARD)
    unasked = {"built-in"} | ({f"preset {config.search.preset}"} if settings.sources["preset"] == "built-in" else set())
    taken = {field: standard.planned.config.flat()[field] for field in FROM_STUDY if settings.sources[field] in unasked}
    return config.changed(**taken, **standard.strategy.model_dump(), snapshot_steps=None)


def of_something_else(study: Study, difference: str) -> UserError:
    """What is said where a study does not hold for what is asked."""
    return UserError(f"'{study.name}' is a study of something else: {difference}; leave that as the study has it")


def check_same(study: Study, planned: Plan) -> None:
    """Refuse to compare what a study did not compare.

    Raises:
        UserError: it names the difference.
    """
    standard = study.arm(STANDARD)
    found = [*protocol_differences(standard.protocol, planned.protocol, "the study", "what you ask for")]
    if found:
        raise of_something_else(study, found[0])


class MeasureOn:
    """Measures strategies on a study: Kendall's tau-b with its truth, its interval, and what that took."""

    def __init__(self, study: Study, *, as_json: bool, stop: Event | None = None) -> None:
        self.study, self.as_json, self.stop = study, as_json, stop

    def __call__(self, strategy: Strategy) -> Measured:
        """Train and score every spec with the strategy, or what is left of that, and compare.

        Raises:
            Interrupted: the user stops it.
            JobFailed: too many trials failed, so that there is no ranking.
        """
        arm = self._arm(strategy)
        end = play_arm(self.study, arm, as_json=self.as_json, stop=self.stop)
        if end == "interrupted":
            raise Interrupted
        if end == "allowance":
            raise AllowanceSpent("the allowance of the measurement is spent")
        if end == "failures":
            raise JobFailed("three trials in a row failed, so there is no ranking")
        with opened(arm.planned.config.places.db, read_only=True) as db:
            step = arm.score_steps[-1]
            row = proxy_row(arm, step, column(db, self.study, arm, step), truth_in(db, self.study))
        tau = row.kendall
        if tau is None:
            raise JobFailed(f"only {row.ranked} specs have a score and a truth, too few for a ranking")
        return Measured(*tau, row.device_seconds.total, row.ranked)

    def _arm(self, strategy: Strategy) -> Arm:
        """The study's own arm of a strategy, or one beside it."""
        known = next((arm for arm in self.study.proxies if arm.strategy == strategy), None)
        if known is not None:
            return known
        arm = arm_for(self.study, strategy)
        with opened(arm.planned.config.places.db) as db:
            return replace(arm, search=open_arm(db, self.study, arm, MEASUREMENT))


def arm_for(study: Study, strategy: Strategy) -> Arm:
    """A strategy as a proxy of a study: its specs, its seed, its way to score."""
    standard = study.arm(STANDARD)
    name = f"strategy-{strategy_fingerprint(strategy)}"
    changes: dict[str, Any] = {**strategy.model_dump(), "name": f"{study.name}-{name}"}
    changes |= {"snapshot_steps": None}
    config, score = standard.planned.config.changed(**changes), standard.protocol.score
    sampling = choose_sampling(score.sampler, score.sampling_steps, config.data.family, strategy.diffusion_steps)
    taken = score.model_copy(update={"variance": sampling.variance})
    protocol = standard.protocol.model_copy(update={"strategy": strategy, "score": taken})
    return Arm(name, replace(standard.planned, config=config, protocol=protocol), (strategy.train_steps,))
