"""What is held fixed while specs are compared: settings, training strategy and score protocol; their fingerprints.

A *protocol* is all three together; only scores of one protocol fingerprint may be compared. No torch is imported here.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from diffusion.distill.retraining import Student
from diffusion.errors import UserError
from diffusion.frozen import MOST, Frozen, Setting
from diffusion.spec import SpecField
from diffusion.training.settings import JobSettings

CODE_VERSION = 1
"""Raised when a change to the trainer gives other weights for the same job; part of every training key."""

Family = Literal["ddpm", "iddpm"]
Schedule = Literal["linear", "cosine", "scaled_linear"]
Sampler = Literal["ddpm", "iddpm", "ddim", "dpm-solver++"]
Variance = Literal["fixed_large", "fixed_small", "learned_range"]
Precision = Literal["fp32", "bf16"]


class Settings(Frozen):
    """The fixed S of the paper: the data set and the noise process, the same for every candidate of a search."""

    dataset: str
    resolution: Annotated[int, Field(ge=8, multiple_of=8)]
    channels: Annotated[int, Field(ge=1, le=4)]
    family: Family = "ddpm"
    schedule: Schedule = "linear"
    horizontal_flips: bool = False
    values: Literal["latents"] | None = None  # None are pixels, and no part of a fingerprint or key


class Strategy(Frozen):
    """How a candidate is trained (the paper's Y). `standard` and `rapid` are presets of the data sets."""

    learning_rate: Annotated[float, Field(gt=0, le=1), Setting("learning rate of AdamW after the warm-up")] = 2e-4
    dropout: Annotated[float, Field(ge=0, lt=1), Setting("dropout inside the residual blocks")] = 0.1
    diffusion_steps: Annotated[
        int,
        Field(ge=50, le=10_000),  # below 50 the scaled linear betas exceed one
        Setting("steps of the noise process, at least 50", more="linear betas are scaled by 1000 over this number"),
    ] = 1000
    batch_size: Annotated[int, Field(ge=1, le=MOST), Setting("images per step", "N")] = 128
    warmup_steps: Annotated[int, Field(ge=0, le=MOST), Setting("steps in which the learning rate rises from zero")] = 0
    ema_decay: Annotated[
        float,
        Field(ge=0, lt=1),
        Setting(
            "the most weight that the past has in the averaged weights",
            more="it is those that are sampled; after s steps it is at most (1 + s) / (10 + s): at 600 all from "
            "0.986 on are the same",
        ),
    ] = 0.9999
    gradient_clip: Annotated[
        float, Field(gt=0, le=MOST, allow_inf_nan=False), Setting("the largest norm of a gradient")
    ] = 1.0
    train_steps: Annotated[int, Field(ge=1, le=MOST), Setting("optimiser steps of each training", "N")] = 1000
    weight_decay: Annotated[
        float | None,
        Field(gt=0, lt=1),
        Setting("weight decay of AdamW", more="without one there is none", example="1e-4"),
    ] = None  # None is no part of a fingerprint or key, so that what was measured before there was one stays found

    @property
    def largest_decay(self) -> float:
        """The most that the decay of the averaging comes to: after s steps it is at most (1 + s) / (10 + s)."""
        return self.train_steps / (9 + self.train_steps)

    @property
    def as_trained(self) -> Self:
        """The same training, written in one way: whatever the decay is beyond the largest, it is the largest."""
        return self.model_copy(update={"ema_decay": min(self.ema_decay, self.largest_decay)})


class Sampling(Frozen):
    """How images are drawn: the sampler, its steps, and for the ancestral ones the variance of the reverse steps.

    ``ddpm`` is Ho et al. 2020, Algorithm 2; ``iddpm`` the same with the learned variance of Nichol & Dhariwal 2021.
    """

    sampler: Sampler = "ddim"
    steps: Annotated[int, Field(ge=1)]
    variance: Variance | None = None  # of ddpm and iddpm alone


def choose_sampling(sampler: str, steps: int, family: Family, diffusion_steps: int) -> Sampling:
    """A sampling that the family and the number of diffusion steps allow, with the variance that suits it.

    The fixed variance is β_t at full steps and the posterior's β̃_t when respaced (Ho et al. 2020, Section 3.2; with
    fewer steps β_t leaves visible noise).

    Raises:
        UserError: no such sampler, too few or too many steps, or learned variance asked of a family that has none.
    """
    if sampler not in get_args(Sampler):
        raise UserError(f"'{sampler}' is not a sampler; there are {', '.join(get_args(Sampler))}")
    if steps < 1:
        raise UserError(f"'{steps}' sampling steps are too few; take at least 1")
    if steps > diffusion_steps:
        raise UserError(f"'{steps}' sampling steps are more than the {diffusion_steps} of the diffusion; take fewer")
    if steps == 1 and sampler in ("ddpm", "iddpm"):
        raise UserError(f"'1' sampling step would be step 0 alone in {sampler}; take at least 2, or ddim")
    if sampler == "iddpm" and family != "iddpm":
        raise UserError(f"'{sampler}' needs the learned variance of the family iddpm; take ddpm, ddim or dpm-solver++")
    variance: Variance | None = None
    if sampler == "iddpm":
        variance = "learned_range"
    elif sampler == "ddpm":
        variance = "fixed_large" if steps == diffusion_steps else "fixed_small"
    return Sampling.model_validate({"sampler": sampler, "steps": steps, "variance": variance})


class ScoreProtocol(Frozen):
    """How a score is taken. `metric` names the feature network: plain ``fid`` is the 2015 Inception alone."""

    feature_network: str
    feature_sha256: str
    feature_input_size: int
    resize_filter: str
    grey_to_rgb: str = "repeat"
    reference_split: Literal["train", "test"] = "train"
    reference_count: int
    sampler: Sampler = "ddim"
    sampling_steps: Annotated[int, Field(ge=1)]
    variance: Variance | None = None
    num_images: Annotated[int, Field(ge=2)]
    ema: bool = True

    @property
    def sampling(self) -> Sampling:
        """How the images of this protocol are drawn."""
        return Sampling(sampler=self.sampler, steps=self.sampling_steps, variance=self.variance)

    @property
    def metric(self) -> str:
        """The name that stands beside every number of this protocol."""
        return "fid" if self.feature_network == "inception-v3-compat" else f"fid-{self.feature_network}"


class Protocol(Frozen):
    """Settings, strategy and score protocol on one data fingerprint: what decides whether two scores compare."""

    data_fingerprint: str
    settings: Settings
    strategy: Strategy
    score: ScoreProtocol
    teacher: str | None = None  # digest of the network that students are made of: no spec's score compares with theirs

    @property
    def fingerprint(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON (DESIGN.md, "Scores").

        The data fingerprint stands for the data; the word they were asked for by does not count.
        """
        return digest(self.model_dump(mode="json", exclude={"settings": {"dataset"}}, exclude_none=True))


class TrainJob(Frozen):
    """One training: spec × strategy × settings × seed on one prepared data folder. Its `key` names its run folder.

    From `threads` to `micro_batch_size` stands how it is computed: it changes the last bits of the weights, not what
    they are, so it is no part of the key; what the first checkpoint holds is used to the end (`going_on_from`).
    """

    spec: SpecField
    settings: Settings
    strategy: Strategy
    seed: int
    data_fingerprint: str
    data_folder: Path
    run_folder: Path
    running: JobSettings = JobSettings()
    log_steps: Annotated[int, Field(ge=1)] = 20
    threads: Annotated[int, Field(ge=1)] = 1  # of each process
    processes: Annotated[int, Field(ge=1)] = 1  # that share each batch
    precision: Precision = "fp32"
    compiled: bool = False
    channels_last: bool = False
    micro_batch_size: Annotated[int, Field(ge=1)] | None = None  # images of a process at once; None: all of its share
    until_step: Annotated[int, Field(ge=1)] | None = None  # leave the steps after it to a later job
    measures_peak: bool = False  # nothing else computes: the machine's peak may be measured, once
    table: str | None = None  # where its result is looked up, and the search's seed that decides which one is shown
    student: Student | None = None  # made smaller out of a teacher whose shape is that of `spec`

    @model_validator(mode="before")
    @classmethod
    def _with_its_group(cls, values: Any) -> Any:
        """A job may hold settings of `running` beside the rest: earlier versions wrote them so into run folders."""
        loose = JobSettings.model_fields.keys() - cls.model_fields.keys()
        if not isinstance(values, dict) or not (found := loose & values.keys()):
            return values
        running = {name: values[name] for name in found} | dict(values.get("running", {}))
        return {name: value for name, value in values.items() if name not in found} | {"running": running}

    @model_validator(mode="after")
    def _every_process_has_an_image(self) -> Self:
        if self.processes > self.strategy.batch_size:
            raise ValueError(
                f"processes={self.processes} are more than the {self.strategy.batch_size} images of a batch; take fewer"
            )
        return self

    @property
    def key(self) -> str:
        """Identity of the result: where and how it is computed and how often it reports do not count."""
        data, student = self.data_fingerprint, self.student
        return training_key(self.spec, self.settings, self.strategy, self.seed, data, self.table, student)

    @property
    def last_step(self) -> int:
        """The step at which this job ends."""
        return min(self.strategy.train_steps, self.until_step or self.strategy.train_steps)

    @property
    def largest_share(self) -> int:
        """The most images of a batch that fall to one process."""
        return -(-self.strategy.batch_size // self.processes)

    def going_on_from(self, first: "TrainJob") -> "TrainJob":
        """This job, computed as `first` was; the number of processes is that of whoever started them."""
        held = ("threads", "precision", "compiled", "channels_last", "micro_batch_size")
        return self.model_copy(update={name: getattr(first, name) for name in held})


class ScoreJob(Frozen):
    """One measurement of a finished training: score protocol × sampling seed."""

    run_folder: Path
    data_folder: Path
    cache_folder: Path
    protocol: Protocol
    spec: SpecField | None = None  # whose weights the run folder should hold, where that is known
    sampling_seed: int = 0
    feature_weights: Path | None = None  # where Inception's file lies, if not where torch hub keeps it
    threads: Annotated[int, Field(ge=1)] = 1


class PaceJob(Frozen):
    """How fast a feature network is here."""

    run_folder: Path
    feature_network: str
    shape: tuple[int, int, int]  # of an image, (C, R, R)
    feature_weights: Path | None = None
    threads: Annotated[int, Field(ge=1)] = 1


def training_key(
    spec: SpecField,
    settings: Settings,
    strategy: Strategy,
    seed: int,
    data_fingerprint: str,
    table: str | None = None,
    student: Student | None = None,
) -> str:
    """The identity of a training; equal keys give equal weights. What a `table` shows is nobody's own training."""
    return digest(
        {
            "spec": str(spec),
            "settings": settings.model_dump(mode="json", exclude={"dataset"}, exclude_none=True),
            "strategy": strategy.model_dump(mode="json", exclude_none=True),
            "seed": seed,
            "data": data_fingerprint,
            "code": CODE_VERSION,
        }
        | ({} if table is None else {"table": table})
        | ({} if student is None else {"student": student.identity})
    )


def digest(value: Any) -> str:
    """First 12 hex digits of the SHA-256 of a value's canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
