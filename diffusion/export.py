"""A trained network as a folder that diffusers' `DDPMPipeline` loads, and such a folder read back without trust.

| file | holds |
| --- | --- |
| ``model_index.json``, ``unet/``, ``scheduler/`` | the pipeline as diffusers writes it; averaged weights, safetensors |
| ``README.md`` | the model card, and pictures that it shows |
| ``diffnas.json`` | spec, settings, diffusion steps, and the lineage that the caller gives |

A student, whose units have widths of their own, has no ``unet/`` but the ``student/`` of `diffusion.distill.folder`,
and no ``model_index.json``: diffusers alone cannot build it. Nor is there one where the network draws latents, which
a `DDPMPipeline` would take for pixels.

A folder appears whole or not at all. Reading uses no pickle and allocates no more than the weights' file warrants: what
the files say is compared with what the spec in ``diffnas.json`` makes of them first. The card's text is made elsewhere.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn

from diffusion.data.card import LARGEST_SIDE
from diffusion.distill.folder import CONFIG as STUDENT_CONFIG
from diffusion.distill.folder import load_student, save_student
from diffusion.errors import UserError
from diffusion.files.writing import as_new
from diffusion.frozen import Frozen
from diffusion.process import betas
from diffusion.samplers import scheduler_for
from diffusion.settings import Settings, choose_sampling
from diffusion.spec import SpecField, UNetSpec
from diffusion.training.checkpoint import Checkpoint, ema_model, write_json
from diffusion.training.weights import load_weights
from diffusion.unet import build_unet, unet_arguments

if TYPE_CHECKING:
    from diffusers import UNet2DModel

INDEX = "model_index.json"
OURS = "diffnas.json"
UNET_CONFIG = Path("unet", "config.json")
SCHEDULER_CONFIG = Path("scheduler", "scheduler_config.json")
WEIGHTS = Path("unet", "diffusion_pytorch_model.safetensors")


class Exported(Frozen):
    """What ``diffnas.json`` holds."""

    format: Literal[1] = 1
    spec: SpecField
    settings: Settings
    diffusion_steps: Annotated[int, Field(ge=50, le=10_000)]  # as a strategy allows
    step: Annotated[int, Field(ge=0)]
    lineage: dict[str, Any]
    student: bool = False


@dataclass(frozen=True)
class LoadedPipeline:
    """A network from an exported folder, ready to sample, with what sampling needs."""

    model: nn.Module  # (N, C, R, R), (N,) → (N, C or 2C, R, R)
    spec: UNetSpec
    settings: Settings
    diffusion_steps: int
    lineage: Mapping[str, Any]


def export_pipeline(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    card: str,
    lineage: Mapping[str, Any],
    pictures: Mapping[str, Path] | None = None,
    replace: bool = False,
) -> Path:
    """Write the averaged weights of a checkpoint as a pipeline folder; its absolute path.

    The scheduler has the variance of full steps: β_t for ddpm, the learned one for iddpm.

    Args:
        checkpoint: the step to export.
        folder: is made, or may be empty; the folder of an earlier export with `replace`.
        card: the text of ``README.md``.
        lineage: where the weights come from; values that JSON can hold.
        pictures: that lie beside the card, by their names there.
        replace: put the new folder in the place of an earlier export.

    Raises:
        UserError: the folder holds something, or cannot be written.
    """
    target = _free(folder, replace)
    part = target.with_name(f".{target.name}.part-{os.getpid()}")
    try:
        part.mkdir(parents=True)
        _write(part, checkpoint, card, lineage, pictures or {})
        _put(part, target)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"'{folder}' cannot be written ({reason}); name a folder on a disk with room") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _free(folder: Path, replace: bool) -> Path:
    """The folder's absolute path, if a folder may be put there."""
    target = folder.resolve()
    if not target.name or target == Path.cwd():
        raise UserError(f"'{folder}' is the folder you are in or the root; name one to be made")
    if not target.exists():
        return target
    if not target.is_dir():
        raise UserError(f"'{folder}' is a file; name a folder to be made")
    if any(target.iterdir()):
        if not _is_ours(target):
            raise UserError(f"'{folder}' is not empty and holds no earlier export; name a folder to be made")
        if not replace:
            raise UserError(f"'{folder}' holds an earlier export; name another folder, or add --replace")
    return target


def _is_ours(folder: Path) -> bool:
    try:
        ours = Exported.model_validate_json((folder / OURS).read_bytes())
    except (OSError, ValueError):
        return False
    return (folder / _main_file(ours)).is_file()


def _main_file(ours: Exported) -> Path:
    """What an export has to have beside ours."""
    if ours.student:
        return STUDENT_CONFIG
    return UNET_CONFIG if ours.settings.values else Path(INDEX)


def _write(
    part: Path, checkpoint: Checkpoint, card: str, lineage: Mapping[str, Any], pictures: Mapping[str, Path]
) -> None:
    """Every file of the folder, on the disk when this returns."""
    from diffusers import DDPMPipeline

    job = checkpoint.job
    steps, family = job.strategy.diffusion_steps, job.settings.family
    scheduler = scheduler_for(job.settings, choose_sampling(family, steps, family, steps), steps)
    network: Any = ema_model(checkpoint)
    if job.student is None and job.settings.values is None:
        DDPMPipeline(unet=network, scheduler=scheduler).save_pretrained(part, safe_serialization=True)
    else:
        if job.student is None:
            network.save_pretrained(part / UNET_CONFIG.parent)
        else:
            save_student(part, network, job.student.choices)
        scheduler.save_pretrained(part / "scheduler")
    (part / "README.md").write_text(card, encoding="utf-8")
    for name, path in pictures.items():
        shutil.copyfile(path, part / name)
    ours = Exported(
        spec=job.spec,
        settings=job.settings,
        diffusion_steps=steps,
        step=checkpoint.step,
        lineage=dict(lineage),
        student=job.student is not None,
    )
    write_json(part / OURS, ours.model_dump(mode="json") | {"spec": str(job.spec)})
    as_new(part)


def _put(part: Path, target: Path) -> None:
    """Give the folder its name; an earlier export steps aside until that is done."""
    aside = target.with_name(f".{target.name}.old-{os.getpid()}")
    replacing = target.exists() and any(target.iterdir())
    if replacing:
        target.rename(aside)
    try:
        part.rename(target)
    except OSError:
        if replacing:
            aside.rename(target)
        raise
    if replacing:
        shutil.rmtree(aside)


def load_pipeline_folder(folder: Path) -> LoadedPipeline:
    """Read an exported folder back, trusting none of its files.

    Raises:
        UserError: it is no folder of ours, or one of its files is damaged or belongs to another network.
    """
    ours = _described(folder)
    if ours.settings.resolution > LARGEST_SIDE:
        raise UserError(f"'{folder / OURS}' asks for images wider than {LARGEST_SIDE}; export the trial again")
    _same_process(folder, ours)
    model = _student(folder, ours) if ours.student else _network(folder, ours)
    return LoadedPipeline(model, ours.spec, ours.settings, ours.diffusion_steps, ours.lineage)


def _network(folder: Path, ours: Exported) -> nn.Module:
    _same_network(folder, ours)
    weights = _weights(folder / WEIGHTS, ours)
    model: nn.Module = build_unet(ours.spec, ours.settings)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def _student(folder: Path, ours: Exported) -> "UNet2DModel":
    student: UNet2DModel = load_student(folder)
    shape = {"sample_size": ours.settings.resolution, "in_channels": ours.settings.channels}
    if any(student.config[name] != value for name, value in shape.items()):
        raise UserError(
            f"'{folder / STUDENT_CONFIG}' is of other images than '{folder / OURS}'; export the trial again"
        )
    return student


def _described(folder: Path) -> Exported:
    """What ``diffnas.json`` says, validated."""
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a folder; name one that `diffnas-agent export` wrote")
    _check_has(folder, OURS)
    ours = Exported.model_validate(_read(folder / OURS, Exported.model_validate))
    if not ours.student:
        _check_has(folder, str(_main_file(ours)))
    return ours


def _check_has(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        raise UserError(f"'{folder}' has no {name}; name a folder that `diffnas-agent export` wrote")


def _read(path: Path, accept: Callable[[dict[str, Any]], object] = dict) -> dict[str, Any]:
    """A JSON object that `accept` does not refuse."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise TypeError(f"a {type(found).__name__} is no object")
        accept(found)
    except FileNotFoundError:
        raise UserError(f"'{path}' is missing; export the trial again") from None
    except (OSError, ValueError, RecursionError, TypeError):
        raise UserError(f"'{path}' is damaged or not what an export writes; export the trial again") from None
    return found


def _same_network(folder: Path, ours: Exported) -> None:
    """The UNet's configuration is the one that the spec makes."""
    found = _read(folder / UNET_CONFIG)
    for name, value in unet_arguments(ours.spec, ours.settings).items():
        expected = list(value) if isinstance(value, tuple) else value
        if name not in found or found[name] != expected:
            raise UserError(
                f"'{folder / UNET_CONFIG}' says {name}={found.get(name)!r:.60} where {ours.spec} has {expected!r}; "
                "export the trial again"
            )


def _same_process(folder: Path, ours: Exported) -> None:
    """The scheduler's betas are those of the settings; its other fields do not touch how we sample."""
    found = _read(folder / SCHEDULER_CONFIG)
    if found.get("trained_betas") != betas(ours.settings.schedule, ours.diffusion_steps).tolist():
        raise UserError(
            f"'{folder / SCHEDULER_CONFIG}' has other betas than a {ours.settings.schedule} schedule of "
            f"{ours.diffusion_steps} steps; export the trial again"
        )


def _weights(path: Path, ours: Exported) -> dict[str, Tensor]:
    with torch.device("meta"):  # shapes without memory
        network = build_unet(ours.spec, ours.settings)
    return load_weights(path, network, whose=f"of another spec than {ours.spec}", again="export the trial again")
