"""How jobs run, as people set it: nothing here changes what a training is, and so no part of its key."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from diffusion.frozen import MOST, Frozen, Setting
from diffusion.units import parse_list

Compile = Literal["auto", "on", "off"]
Tracker = Literal["tensorboard", "wandb", "trackio"]


class JobSettings(Frozen):
    """How jobs run. None of these is part of the protocol: scores compare however a network was trained."""

    checkpoint_steps: Annotated[
        int,
        Field(ge=1, le=MOST),
        Setting("steps between two checkpoints of a training", more="the most that a killed process loses"),
    ] = 1000
    snapshot_steps: Annotated[
        tuple[Annotated[int, Field(ge=1, le=MOST)], ...] | None,
        BeforeValidator(parse_list),
        Setting(
            "steps whose averaged weights are kept, to be scored later",
            "N,N,…",
            more="sampled or exported, too: `250,500`, in TOML `[250, 500]`",
            example="250,500",
        ),
    ] = None
    nproc: Annotated[
        int,
        Field(ge=1, le=MOST),
        Setting("processes, or GPUs, of each training", "N", more="they share each batch; on GPUs one for each"),
    ] = 1
    executor: Annotated[
        Literal["local", "ray"],
        Setting(
            "where trainings run: this machine, or a Ray cluster",
            "local|ray",
            more="see [scaling.md](scaling.md#ray); `ray` needs the extra: `pip install 'diffnas-agent[ray]'`",
        ),
    ] = "local"
    ray_address: Annotated[
        str | None,
        Setting(
            "the Ray cluster to use",
            more="such as `10.0.0.1:6379` or `auto`; without it that of `RAY_ADDRESS`, else one is started on this "
            "machine",
            example="10.0.0.1:6379",
        ),
    ] = None
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Setting(
            "what trainings compute in: `fp32`, `bf16`, or `auto`",
            more="`bf16` is autocast; `auto` is bf16 with channels-last memory on a GPU, else fp32",
        ),
    ] = "auto"
    compile: Annotated[
        Compile,
        Setting(
            "whether networks are compiled: `on`, `off`, or `auto`",
            more="`auto` is `torch.compile` only where it was measured to pay, which is small networks on a CPU for "
            "more than 35,000 steps; see [benchmarks.md](benchmarks.md)",
        ),
    ] = "auto"
    log_with: Annotated[
        Tracker | None,
        Setting(
            "send the progress of trainings to a tracker, too",
            "tensorboard|wandb|trackio",
            more="it gets loss, speed and share of the peak of each training: `tensorboard` (files in the run folder), "
            "`wandb` or `trackio`; each needs the package of its name",
            example="tensorboard",
        ),
    ] = None
