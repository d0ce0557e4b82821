"""What the tools of one round need: what may be proposed, how jobs run, and whom to ask and tell."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, RLock
from typing import Any, Literal, Self

from sqlite_utils import Database

from diffusion.cost.closed_form import Convention, Cost, cost
from diffusion.cost.throughput import PASSES, WORTH_MEASURING_MACS
from diffusion.distill.retraining import Student
from diffusion.settings import Precision, ScoreJob, TrainJob, training_key
from diffusion.settings import Protocol as ScoringProtocol
from diffusion.space import SearchSpace
from diffusion.spec import UNetSpec
from diffusion.statistics.pruning import Rule
from diffusion.training.compilation import is_compiled
from diffusion.training.settings import JobSettings
from diffusion.unetbench.table import Table
from memory.connection import Memory
from memory.queries.records import Scope
from tools.allowance import Allowance
from tools.executors.base import Executor
from tools.executors.machine import Share

Report = Callable[..., None]  # report(event, **values)
Told = Literal["none", "search", "all"]  # of what was tried: nothing, this search, every search of the protocol


@dataclass(frozen=True)
class Decision:
    """What a person said of a proposal: train this spec, which may be another one, or none for this reason."""

    spec: UNetSpec
    rejected: str | None = None


@dataclass(frozen=True)
class SearchLimits:
    """What may be proposed in a search, and what its scores are comparable under."""

    space: SearchSpace
    budget_macs: int
    convention: Convention
    protocol: ScoringProtocol
    told: Told = "search"  # what proposers are told of

    @property
    def scope(self) -> Scope:
        """Whose trials proposers are told of, where they are told of any."""
        return "memory" if self.told == "all" else "search"

    def cost(self, spec: UNetSpec) -> Cost:
        """The closed-form cost of a spec under this search's settings."""
        settings = self.protocol.settings
        return cost(spec, settings.family, settings.resolution, settings.channels)


@dataclass(frozen=True)
class Jobs:
    """How the trainings and scores of a search run, and where they lie."""

    out: Path
    seed: int
    settings: JobSettings = field(default_factory=JobSettings)
    share: Share = field(default_factory=lambda: Share(parallel=1, processes=1, threads=1))  # each one's of the machine
    feature_weights: Path | None = None
    prune: Rule | None = None  # when a candidate that is behind is stopped early
    is_alone: bool = False  # no other job computes beside one of these
    table: Table | None = None  # where results are looked up instead
    student: Student | None = None  # what is trained, where that is made out of a teacher of the spec's shape

    @property
    def precision(self) -> Precision:
        """What trainings compute in: unless it is asked for otherwise, bf16 autocast on a GPU."""
        if self.settings.precision != "auto":
            return self.settings.precision
        return "bf16" if self.share.device == "cuda" else "fp32"

    @property
    def data_folder(self) -> Path:
        """Where the prepared data lie."""
        return (self.out / "data").absolute()

    def train_job(self, limits: SearchLimits, spec: UNetSpec, seed: int | None = None) -> TrainJob:
        """The training of a spec, with the search's seed or another; its run folder is named by its key."""
        share, protocol = self.share, limits.protocol
        settings, strategy = protocol.settings, protocol.strategy
        seed = self.seed if seed is None else seed
        macs = limits.cost(spec).macs.total * strategy.batch_size  # of a forward pass
        student = self.student
        table = f"{self.table.identity}/{self.seed}" if self.table else None
        key = training_key(spec, settings, strategy, seed, protocol.data_fingerprint, table, student)
        return TrainJob(
            spec=spec,
            settings=settings,
            strategy=strategy,
            seed=seed,
            data_fingerprint=protocol.data_fingerprint,
            data_folder=self.data_folder,
            run_folder=(self.out / "trainings" / key).absolute(),
            running=self.settings,
            processes=share.processes,
            threads=share.threads,
            precision=self.precision,
            channels_last=share.device == "cuda" and self.precision == "bf16",
            compiled=student is None
            and is_compiled(self.settings.compile, share.device, macs, strategy.train_steps, self.precision),
            measures_peak=self.is_alone and PASSES * macs * strategy.train_steps >= WORTH_MEASURING_MACS,
            table=table,
            student=student,
        )


@dataclass(frozen=True)
class Services:
    """Whom the tools of a search ask, tell and obey; one for a drive."""

    memory: Memory
    executor: Executor
    report: Report
    allowance: Allowance | None = None  # asked before each call of a model
    approve: "Approve | None" = None  # asks a person before anything is spent on a proposal
    finish_reasons: list[str] = field(default_factory=list)  # filled by finish_search
    stop: Event = field(default_factory=Event)


@dataclass(frozen=True)
class SearchContext:
    """One round of one search, as the tools see it. Never stored: it is made anew for each round."""

    search: int
    round_number: int
    proposer: str
    limits: SearchLimits
    jobs: Jobs
    services: Services
    one_at_a_time: RLock = field(default_factory=RLock)  # calls of one message of the round run in several threads

    @property
    def db_path(self) -> Path:
        """Where the memory lies."""
        return self.services.memory.path

    @property
    def db(self) -> Database:
        """The memory, as this thread has it open."""
        return self.services.memory.db

    def beside(self) -> Self:
        """The same round for who goes on when its drive is over, with the memory open by itself."""
        return replace(self, services=replace(self.services, memory=Memory(self.db_path)))

    def sharing(self, share: Share) -> Self:
        """The same round, whose jobs run beside others, each with this share of the machine."""
        return replace(self, jobs=replace(self.jobs, share=share, is_alone=share.parallel == 1))

    def report(self, event: str, **values: Any) -> None:
        """Say what happens."""
        self.services.report(event, **values)

    def reporting(self, report: Report) -> Self:
        """The same round with another report."""
        return replace(self, services=replace(self.services, report=report))

    def watched(self, awaited: str, happened: Callable[[], object]) -> Self:
        """The same round, which also tells somebody when an event of one name was said."""

        def report(event: str, **values: Any) -> None:
            self.report(event, **values)
            if event == awaited:
                happened()

        return self.reporting(report)

    def train_job(self, spec: UNetSpec, seed: int | None = None) -> TrainJob:
        """The training of a spec, with the search's seed or another."""
        return self.jobs.train_job(self.limits, spec, seed)

    def score_job(self, run_folder: Path, spec: UNetSpec) -> ScoreJob:
        """The measurement of a finished training of a spec under this search's protocol."""
        jobs = self.jobs
        return ScoreJob(
            run_folder=run_folder,
            spec=spec,
            data_folder=jobs.data_folder,
            cache_folder=reference_folder(jobs.out),
            protocol=self.limits.protocol,
            sampling_seed=jobs.seed,
            feature_weights=jobs.feature_weights and jobs.feature_weights.absolute(),
            threads=jobs.share.threads,
        )


def reference_folder(out: Path) -> Path:
    """Where the features of real images are kept, for all searches whose trainings lie in `out`."""
    return (out / "reference").absolute()


Approve = Callable[[SearchContext, UNetSpec, str], Decision]  # approve(context, spec, reason)
