"""Rank studies without training: an executor whose scores are planted, and a study of it in a folder of its own."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest

from agent.config.sources import resolve
from agent.study.arms import Asked, Study
from agent.study.plan import plan_study
from agent.study.run import run_study
from agent.study.store import open_study
from diffusion.cost.closed_form import cost
from diffusion.settings import ScoreJob, ScoreProtocol, Strategy, TrainJob
from diffusion.spec import UNetSpec
from memory.connection import opened
from tools.errors import Interrupted, JobFailed

RAPID = Strategy(learning_rate=1e-3, dropout=0, diffusion_steps=400, batch_size=8, train_steps=20)
STANDARD = Strategy(learning_rate=5e-4, dropout=0.3, diffusion_steps=1000, batch_size=8, train_steps=60)
TRUTH_STEPS = 120
SECONDS_A_STEP, SECONDS_AN_IMAGE = 0.5, 0.25

Value = Callable[[ScoreJob], float]


def quality(spec: UNetSpec) -> float:
    """The planted truth: lower is better."""
    return 1e6 / cost(spec, "ddpm", 8, 1).params


def spec_of(job: ScoreJob) -> UNetSpec:
    """The spec that a score is of."""
    assert job.spec is not None
    return job.spec


def arm_of(strategy: Strategy) -> str:
    """Which arm trains so, by the steps of its strategy or of one of its snapshots."""
    if strategy.diffusion_steps == RAPID.diffusion_steps:
        return "rapid"
    return "truth" if strategy.train_steps == TRUTH_STEPS else "standard"


@dataclass
class Planted:
    """Trains nothing and scores as it is told; counts its jobs and fails or dies where it is asked to."""

    value: Value = field(default=lambda job: quality(spec_of(job)))
    trained: Counter[str] = field(default_factory=Counter)  # by training key
    scored: Counter[tuple[str, str, int]] = field(default_factory=Counter)  # by folder, protocol and seed
    jobs: list[TrainJob] = field(default_factory=list)
    failing: set[tuple[str, str, int]] = field(default_factory=set)  # arm, spec, seed
    dies_after: int | None = None  # trainings
    interrupts_after: int | None = None
    stop: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)

    def __call__(self, stop: Event) -> "Planted":
        """Stand in for the executor's class."""
        self.stop = stop
        return self

    def train(self, job: TrainJob, on_progress: Any) -> dict[str, Any]:
        with self.lock:
            if len(self.jobs) == self.dies_after:
                raise Killed
            if len(self.jobs) == self.interrupts_after:
                self.stop.set()
            if self.stop.is_set():
                raise Interrupted
            self.jobs.append(job)
            self.trained[job.key] += 1
        if (arm_of(job.strategy), str(job.spec), job.seed) in self.failing:
            raise JobFailed("the loss is nan at step 1")
        steps = job.strategy.train_steps
        return {"step": steps, "loss": 0.1, "device_seconds": SECONDS_A_STEP * steps}

    def evaluate(self, job: ScoreJob, on_progress: Any) -> dict[str, Any]:
        with self.lock:
            self.scored[job.run_folder.name, job.protocol.fingerprint, job.sampling_seed] += 1
        images = job.protocol.score.num_images
        return {
            "step": job.protocol.strategy.train_steps,
            "metric": job.protocol.score.metric,
            "value": self.value(job),
            "num_images": images,
            "device_seconds": SECONDS_AN_IMAGE * images,
        }

    def kill(self) -> None:
        """Nothing to kill."""


class Killed(BaseException):
    """The process dies here."""


@dataclass
class PlantedStudy:
    """A study whose executor is planted; `options` are settings, `asked` what the study is to compare."""

    folder: Path
    executor: Planted
    specs: int = 8
    options: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)

    @property
    def db(self) -> Path:
        return self.folder / "diffnas.db"

    def plan(self, **asked: Any) -> Study:
        given = {"preset": "digits", "num_images": 16, "sampling_steps": 2, "batch_size": 8}
        given |= {"db": self.db, "out": self.folder / "runs", "parallel": 1, **self.options}
        wanted = {"name": "s", "specs": self.specs, "rapid": RAPID, "standard": STANDARD, "truth_steps": TRUTH_STEPS}
        return plan_study(resolve(given).config, Asked(**{**wanted, **self.asked, **asked}))

    def opened(self) -> Study:
        study = self.plan()
        with opened(self.db) as db:
            return open_study(db, study)

    def run(self, also: tuple[ScoreProtocol, ...] = (), also_on: str = "rapid", *, as_json: bool = False) -> int:
        """Begin the study, or go on with it, by the same call."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("agent.search.wiring.LocalExecutor", self.executor)
            return run_study(self.opened(), as_json=as_json, also=also, also_on=also_on)

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        with opened(self.db, read_only=True) as db:
            return [dict(row) for row in db.conn.execute(statement, values)]
