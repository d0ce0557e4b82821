"""The teacher that a person names: a trial, a folder, or an id of the Hugging Face hub; kept beside the trainings.

What is kept is the network alone, named by its digest, so that a search goes on when what was named has
been moved. Nothing that was named is trusted: `diffusion.distill.teacher` reads it.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

from agent.config.settings import RunConfig
from agent.config.sources import Resolved
from agent.trials.evaluate import known_trial
from diffusion.errors import UserError
from diffusion.files.paths import user_path
from diffusion.files.writing import as_new
from diffusion.settings import Family, Schedule
from diffusion.spec import UNetSpec
from diffusion.under_way import under_way
from diffusion.units import printable, whole_number

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
NEEDED = (
    "model_index.json",
    "config.json",
    "scheduler/*.json",
    "*.safetensors",
    "unet/config.json",
    "unet/*.safetensors",
)
FILES = ("config.json", "diffusion_pytorch_model.safetensors")
SCHEDULES: dict[str, Schedule] = {  # diffusers' names, and ours
    "linear": "linear",
    "squaredcos_cap_v2": "cosine",
    "scaled_linear": "scaled_linear",
}


@dataclass(frozen=True)
class Teacher:
    """A network that students are made of."""

    named: str  # as it was typed
    folder: Path  # where it is kept
    sha256: str  # of its structure and weights
    spec: UNetSpec  # of its shape
    config: RunConfig  # under which it is scored, and its students are trained
    home: Path  # where trainings would lie, where those of a dry run do not

    @property
    def network(self) -> dict[str, Any]:
        """The configuration of its `UNet2DModel`."""
        found: dict[str, Any] = json.loads((self.folder / FILES[0]).read_bytes())
        return found


def find_teacher(settings: Resolved, text: str, out: Path | None = None) -> Teacher:
    """The teacher that a text names, kept under the folder of the trainings, or under `out`.

    Raises:
        UserError: there is none, or it is not to be compressed.
    """
    if (trial := whole_number(text)) is not None:
        return _of_trial(settings, trial, out)
    folder = user_path(text)
    if not folder.exists() and HUB_ID.fullmatch(text):
        folder = _downloaded(text)
    return _of_folder(settings, text, folder, out)


def _of_trial(settings: Resolved, trial: int, out: Path | None) -> Teacher:
    """A trial of this memory, with the settings of its own search but for what was typed."""
    from diffusion.training.checkpoint import ema_model

    known = known_trial(settings.config.places.db, trial)
    checkpoint = known.checkpoint(None)
    if checkpoint.job.student is not None:
        raise UserError(f"'{trial}' is a student already; compress its teacher with a smaller --target")
    typed = {name: value for name, value in settings.config.flat().items() if settings.sources[name] == "option"}
    network: Any = ema_model(checkpoint)
    config = known.config.changed(**{"name": None, "parallel": "auto", "db": settings.config.places.db} | typed)
    home = config.places.out
    config = config if out is None else config.changed(out=out)
    kept, sha256 = _kept(config.places.out, lambda folder: network.save_pretrained(folder))
    return Teacher(str(trial), kept, sha256, known.trial.spec, config, home)


def _of_folder(settings: Resolved, text: str, folder: Path, out: Path | None) -> Teacher:
    """A folder of ours or of diffusers."""
    from diffusion.distill.teacher import load_teacher, network_folder, weights_file

    network = load_teacher(folder)
    place, weights = network_folder(folder), weights_file(folder)

    def copy(target: Path) -> None:
        target.mkdir(parents=True)
        shutil.copyfile(place / "config.json", target / FILES[0])
        shutil.copyfile(weights, target / FILES[1])

    config = settings.config if out is None else settings.config.changed(out=out)
    kept, sha256 = _kept(config.places.out, copy)
    known = _described(folder) | _process(folder, text)
    if settings.sources["dataset"] == "option" or "dataset" not in known:
        known.pop("dataset", None)
        _check_dataset(settings, text)
    family = _family(network.config, text)
    spec = known.pop("spec", None) or spec_of(network.config, text)
    side = {"resolution": int(network.config["sample_size"])}
    config = config.changed(**(side | known | {"family": family}))
    return Teacher(text, kept, sha256, spec, config, settings.config.places.out)


def _kept(out: Path, write: Any) -> tuple[Path, str]:
    """The files of a network under the name of its digest, whole or not at all; the folder and the digest."""
    from diffusion.distill.teacher import teacher_sha256

    part = out.absolute() / "teachers" / f".part-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        as_new(part)
        sha256 = teacher_sha256(part)
        kept = part.with_name(sha256[:12])
        if not kept.exists():
            part.rename(kept)
    except OSError as error:
        raise UserError(f"'{out}' cannot be written ({error.strerror}); name another folder with --out") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return kept, sha256


def _described(folder: Path) -> dict[str, Any]:
    """What an export of ours says of itself: its spec, and a data set that is known by its word."""
    from diffusion.export import OURS, Exported

    try:
        found = Exported.model_validate_json((folder / OURS).read_bytes())
    except (OSError, ValueError):
        return {}
    settings = found.settings
    said = {"schedule": settings.schedule, "horizontal_flips": settings.horizontal_flips, "spec": found.spec}
    return said | ({"dataset": settings.dataset} if settings.dataset in ("digits", "cifar10") else {})


def _process(folder: Path, text: str) -> dict[str, Any]:
    """The noise process of a pipeline's scheduler.

    Raises:
        UserError: it is none of those that can be trained here.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        return {}
    try:
        said = json.loads(path.read_bytes())
        steps, schedule = int(said["num_train_timesteps"]), str(said.get("beta_schedule"))
        predicts = said.get("prediction_type", "epsilon")
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"'{path}' is damaged; name another teacher") from None
    if said.get("trained_betas") is not None and (folder / "diffnas.json").is_file():
        return {"diffusion_steps": steps}  # its schedule stands in our own file
    if predicts != "epsilon" or schedule not in SCHEDULES:
        raise UserError(
            f"'{text}' predicts {predicts!s:.30} under the schedule {schedule:.30}; students are trained to predict "
            f"epsilon under {' or '.join(SCHEDULES)}"
        )
    _check_betas(said, SCHEDULES[schedule], steps, text)
    return {"diffusion_steps": steps, "schedule": SCHEDULES[schedule]}


def _check_betas(said: Mapping[str, Any], schedule: Schedule, steps: int, text: str) -> None:
    """A schedule of the same name may have other ends."""
    import numpy as np
    from diffusers import DDPMScheduler

    from diffusion.process import betas

    ends = {name: float(said[name]) for name in ("beta_start", "beta_end") if name in said}
    theirs = DDPMScheduler(steps, beta_schedule=said["beta_schedule"], **ends).betas.numpy()
    if not np.allclose(theirs, betas(schedule, steps), atol=1e-6):
        raise UserError(
            f"'{text}' has betas of its own, from {theirs[0]:.3g} to {theirs[-1]:.3g}; those that can be trained here "
            f"are linear from 0.0001 to 0.02 at 1,000 steps, scaled for others, the cosine's, and scaled_linear from "
            "0.0015 to 0.0195"
        )


def _family(config: Mapping[str, Any], text: str) -> Family:
    given, gives = int(config["in_channels"]), int(config["out_channels"])
    if gives not in (given, 2 * given):
        raise UserError(
            f"'{text}' makes {gives} channels of {given}; only noise, or noise and its variance, is learned"
        )
    return "ddpm" if gives == given else "iddpm"


def _check_dataset(settings: Resolved, text: str) -> None:
    """Nobody guesses what a foreign network was trained on."""
    if settings.sources["dataset"].startswith(("preset", "built-in")) and settings.sources["preset"] == "built-in":
        raise UserError(f"'{text}' does not say what it was trained on; name the data with --dataset")


def _downloaded(name: str) -> Path:
    """The files of a model of the Hugging Face hub that are needed, none of which is a pickle.

    Raises:
        UserError: it is not there, or the hub does not answer.
    """
    from huggingface_hub import snapshot_download

    try:
        with under_way(f"asking Hugging Face for {printable(name)}"):
            return Path(snapshot_download(name, allow_patterns=list(NEEDED)))
    except Exception as error:  # the hub's own errors have no common class
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"'{name}' is no folder here, and the hub has no such model ({said:.120})") from None


def spec_of(config: Mapping[str, Any], text: str) -> UNetSpec:
    """The spec of a network's shape; kernels, norms and paddings may differ from those of a spec of ours.

    Raises:
        UserError: no spec has such stages.
    """
    widths = [int(width) for width in config["block_out_channels"]]
    base = gcd(*widths)
    try:
        return UNetSpec(
            base_channel=base,
            num_blocks=config["layers_per_block"],
            channel_mult=tuple(width // base for width in widths),
            attn=tuple(str(kind).startswith("Attn") for kind in config["down_block_types"]),
        )
    except ValueError:
        raise UserError(
            f"'{text}' has stages of {', '.join(map(str, widths))} channels; those that can be compressed have three "
            "to six stages of small multiples of one number of channels"
        ) from None
