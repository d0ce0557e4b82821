"""What the tools of one round need: where to remember, what the limits are, who computes, whom to tell."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, RLock
from typing import Literal

from diffusion.cost.closed_form import Convention, Cost, cost
from diffusion.cost.throughput import PASSES, WORTH_MEASURING_MACS
from diffusion.settings import Compile, Precision, ScoreJob, Tracker, TrainJob, training_key
from diffusion.settings import Protocol as ScoringProtocol
from diffusion.spec import SearchSpace, UNetSpec
from diffusion.statistics.pruning import Rule
from diffusion.training.compilation import is_compiled
from tools.allowance import Allowance
from tools.executors.base import Executor

Report = Callable[..., None]  # report(event, **values)


@dataclass(frozen=True)
class Decision:
    """What a person said of a proposal: train this spec, which may be another one, or none for this reason."""

    spec: UNetSpec
    rejected: str | None = None


@dataclass(frozen=True)
class SearchContext:
    """One round of one search, as the tools see it. Never stored: it is made anew for each round."""

    db_path: Path
    search: int
    round_number: int
    proposer: str
    space: SearchSpace
    budget_macs: int
    convention: Convention
    protocol: ScoringProtocol
    seed: int
    out: Path
    executor: Executor
    report: Report
    checkpoint_steps: int = 1000
    snapshot_steps: tuple[int, ...] = ()
    feature_weights: Path | None = None
    prune: Rule | None = None  # when a candidate that is behind is stopped early
    processes: int = 1  # of each training
    threads: int = 1  # of each process
    device: Literal["cpu", "cuda"] = "cpu"  # where trainings compute
    precision: Precision = "fp32"
    compile: Compile = "off"
    log_with: Tracker | None = None
    allowance: Allowance | None = None  # asked before each call of a model
    is_alone: bool = False  # no other round computes beside this one
    approve: "Approve | None" = None  # asks a person before anything is spent on a proposal
    finish_reasons: list[str] = field(default_factory=list)  # filled by finish_search
    stop: Event = field(default_factory=Event)
    one_at_a_time: RLock = field(default_factory=RLock)  # calls of one message run in several threads

    @property
    def data_folder(self) -> Path:
        """Where the prepared data lie."""
        return self.out / "data"

    def cost(self, spec: UNetSpec) -> Cost:
        """The closed-form cost of a spec under this search's settings."""
        settings = self.protocol.settings
        return cost(spec, settings.family, settings.resolution, settings.channels)

    def train_job(self, spec: UNetSpec, seed: int | None = None) -> TrainJob:
        """The training of a spec, with the search's seed or another; its run folder is named by its key."""
        seed = self.seed if seed is None else seed
        settings, strategy = self.protocol.settings, self.protocol.strategy
        macs = self.cost(spec).macs.total * strategy.batch_size  # of a forward pass
        key = training_key(spec, settings, strategy, seed, self.protocol.data_fingerprint)
        return TrainJob(
            spec=spec,
            settings=settings,
            strategy=strategy,
            seed=seed,
            data_fingerprint=self.protocol.data_fingerprint,
            data_folder=self.data_folder.absolute(),
            run_folder=(self.out / "trainings" / key).absolute(),
            checkpoint_steps=self.checkpoint_steps,
            snapshot_steps=self.snapshot_steps,
            processes=self.processes,
            threads=self.threads,
            precision=self.precision,
            channels_last=self.device == "cuda" and self.precision == "bf16",
            compiled=is_compiled(self.compile, self.device, macs, strategy.train_steps, self.precision),
            log_with=self.log_with,
            measures_peak=self.is_alone and PASSES * macs * strategy.train_steps >= WORTH_MEASURING_MACS,
        )

    def score_job(self, run_folder: Path, spec: UNetSpec) -> ScoreJob:
        """The measurement of a finished training of a spec under this search's protocol."""
        return ScoreJob(
            run_folder=run_folder,
            spec=spec,
            data_folder=self.data_folder.absolute(),
            cache_folder=(self.out / "reference").absolute(),
            protocol=self.protocol,
            sampling_seed=self.seed,
            feature_weights=self.feature_weights and self.feature_weights.absolute(),
            threads=self.threads,
        )


Approve = Callable[[SearchContext, UNetSpec, str], Decision]  # approve(context, spec, reason)
