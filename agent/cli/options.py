"""The options that several commands share, and how a command finds its settings, its memory and its output.

Nothing here imports torch or LangChain: `--help` stays quick.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from agent.config.sources import Resolved


def option(metavar: str, text: str) -> Any:
    """An option with what stands for its value and one line of help."""
    return typer.Option(metavar=metavar, help=text)


Json = Annotated[bool, typer.Option("--json", help="Machine output on stdout; people's output goes to stderr.")]
Db = Annotated[Path | None, option("PATH", "The memory (default ./diffnas.db, or DIFFNAS_DB).")]
Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Name or number of a search; default: the latest.")]
TrialId = Annotated[int, typer.Argument(metavar="TRIAL", help="Number of a trial.")]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="Most rows to print.")]
Out = Annotated[Path | None, option("DIR", "Checkpoints, images, reports (default ./runs).")]
Config = Annotated[Path | None, option("FILE", "Settings (default ./diffnas.toml if there).")]
Setting = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting of diffnas.toml; repeatable.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the settings, their sources and the cost; do nothing.")]

LlmFallbacks = Annotated[
    str | None, option("ID,ID,…", "Backends that are asked, in order, when --llm gives no answer: ID or ID@URL.")
]

MaxCost = Annotated[float | None, option("USD", "Most dollars that language models may cost.")]
MaxHours = Annotated[float | None, option("HOURS", "Most hours that the search may run, over all resumes.")]
MaxTokens = Annotated[int | None, option("N", "Most tokens that language models may read and write.")]
Prices = Annotated[Path | None, option("FILE", "Prices of models, in TOML, over those that come with the program.")]

Approve = Annotated[
    bool | None,
    typer.Option(
        "--approve/--no-approve",
        " /--yes",
        help="Ask before each training: approve, change or reject it. --yes: ask nothing.",
    ),
]

Preset = Annotated[str | None, option("NAME", "digits, ddpm-cifar10 or iddpm-cifar10.")]
Dataset = Annotated[str | None, option("DATA", "digits, cifar10, an .npz, a folder of images, or a Hugging Face id.")]
DataDir = Annotated[Path | None, option("DIR", "Where data sets are looked for.")]
Resolution = Annotated[int | None, option("N", "Resize the images to N×N.")]
Family = Annotated[str | None, option("ddpm|iddpm", "Network and objective: ddpm, or iddpm with learned variance.")]
Seed = Annotated[int | None, option("N", "Seed of trainings, images and proposals.")]
SearchName = Annotated[str | None, option("NAME", "Name of the search.")]
TrainSteps = Annotated[int | None, option("N", "Optimiser steps of each training.")]
BatchSize = Annotated[int | None, option("N", "Images per step.")]
SnapshotSteps = Annotated[str | None, option("N,N,…", "Steps whose averaged weights are kept, to be scored later.")]
NumImages = Annotated[int | None, option("N", "Images sampled for each score.")]
Sampler = Annotated[str | None, option("NAME", "ddim, ddpm, iddpm or dpm-solver++.")]
SamplingSteps = Annotated[int | None, option("N", "Steps of the sampler for each image.")]
FeatureNetwork = Annotated[
    str | None, option("NAME", "Features of the score: digits-cnn, efficientnet-lite0 or inception-v3-compat.")
]
FeatureWeights = Annotated[Path | None, option("FILE", "Inception's weights, if they lie elsewhere than torch hub's.")]
ReferenceSplit = Annotated[str | None, option("train|test", "Which real images the score compares with.")]
Parallel = Annotated[str | None, option("K|auto", "Rounds at once: the next spec is proposed while others train.")]
Nproc = Annotated[int | None, option("N", "Processes, or GPUs, of each training.")]
ExecutorName = Annotated[str | None, option("local|ray", "Where trainings run: this machine, or a Ray cluster.")]
Prune = Annotated[
    bool | None, typer.Option("--prune/--no-prune", help="Stop trainings early that are clearly behind the others.")
]
LogWith = Annotated[
    str | None, option("tensorboard|wandb|trackio", "Send the progress of trainings to a tracker, too.")
]
Step = Annotated[int | None, typer.Option(min=1, metavar="N", help="A step that was kept; default: the last.")]


def resolved(config: Path | None, pairs: list[str] | None, options: Mapping[str, Any]) -> "Resolved":
    """The settings of all sources; `options` that are None were not given."""
    from agent.config.sources import load_provider_keys, parse_pairs, resolve

    load_provider_keys()
    given = {name: value for name, value in options.items() if value is not None}
    return resolve(parse_pairs(pairs or []) | given, config)


def memory_path(given: Path | None) -> Path:
    """The memory that was named by option, environment or ``.env``, or the default."""
    from agent.config.sources import resolve

    return resolve({"db": given}).config.places.db


def show(found: Any, as_json: bool, for_people: Any) -> None:
    """Print what a reading command found: as JSON, or as `for_people` has it."""
    if as_json:
        from agent.report.results import plain

        print(json.dumps(plain(found), allow_nan=False))
        return
    from rich.console import Console

    for_people(Console(highlight=False), found)
