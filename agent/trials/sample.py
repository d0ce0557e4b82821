"""``diffnas-agent sample``: images from a trained trial or an exported folder, one PNG each, and a grid to look at."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from agent.config.sources import resolve
from agent.report.results import Result
from agent.report.tables import say
from agent.trials.evaluate import known_trial
from diffusion.errors import UserError
from diffusion.files.paths import user_path
from diffusion.settings import Sampling, Settings, choose_sampling
from diffusion.training.allocator import keep_freed_memory
from diffusion.under_way import each, under_way
from diffusion.units import whole_number
from tools.executors.machine import cores

if TYPE_CHECKING:
    from torch import nn

    from diffusion.data.pictures import Values

GRID_IMAGES = 100
MOST_DEFAULT_STEPS = 100


class Drawn(Result):
    """``sample --json``."""

    folder: str
    """where the images lie, `00000.png` and so on; or `latents.npy`, (N,C,R,R)"""
    grid: str
    """a grid of the first hundred, of latents in false colours"""
    num_images: int
    """how many"""
    sampler: str
    """how they were drawn"""
    sampling_steps: int
    """in how many steps"""
    variance: str | None
    """of the reverse steps: `fixed_large`, `fixed_small`, `learned_range`, or `null` where the sampler has none"""
    seed: int
    """their seed"""


@dataclass(frozen=True)
class Drawable:
    """A network with what drawing from it needs; `name` and `out` say where images go by default."""

    model: "nn.Module"
    settings: Settings
    diffusion_steps: int
    sampling: Sampling
    name: str
    out: Path


def draw(
    db_path: Path,
    source: str,
    num_images: int,
    changes: dict[str, Any],
    *,
    seed: int,
    step: int | None,
    to: Path | None,
) -> Drawn:
    """Draw images and write them.

    Raises:
        UserError: one sentence with the remedy.
    """
    sampler, steps = (changes.get(name) for name in ("sampler", "sampling_steps"))
    if (trial := whole_number(source)) is not None:
        found = _from_trial(db_path, trial, sampler, steps, step)
    elif step is not None:
        raise UserError(f"--step {step}: '{source}' holds the weights of one step alone; name a trial's number")
    else:
        found = _from_folder(user_path(source), sampler, steps)
    how = f"{found.sampling.sampler}-{found.sampling.steps}-seed{seed}"
    return _write(found, num_images, seed, to or found.out / "samples" / f"{found.name}-{how}")


def _from_trial(db_path: Path, trial: int, sampler: str | None, steps: int | None, step: int | None) -> Drawable:
    from diffusion.training.checkpoint import ema_model

    known = known_trial(db_path, trial)
    checkpoint = known.checkpoint(step)
    settings, diffusion_steps = checkpoint.job.settings, checkpoint.job.strategy.diffusion_steps
    own = known.protocol.score
    sampling = choose_sampling(sampler or own.sampler, steps or own.sampling_steps, settings.family, diffusion_steps)
    name = f"trial-{trial}" + (f"-step{step}" if step else "")
    return Drawable(ema_model(checkpoint), settings, diffusion_steps, sampling, name, known.config.places.out)


def _from_folder(folder: Path, sampler: str | None, steps: int | None) -> Drawable:
    from diffusion.export import load_pipeline_folder

    loaded = load_pipeline_folder(folder)
    default = "iddpm" if loaded.settings.family == "iddpm" else "ddim"
    asked = steps or min(loaded.diffusion_steps, MOST_DEFAULT_STEPS)
    sampling = choose_sampling(sampler or default, asked, loaded.settings.family, loaded.diffusion_steps)
    out = resolve({}).config.places.out
    return Drawable(loaded.model, loaded.settings, loaded.diffusion_steps, sampling, folder.resolve().name, out)


def _write(found: Drawable, num_images: int, seed: int, folder: Path) -> Drawn:
    """Draw the images and write them, one PNG each or all latents in one array, and the grid."""
    import torch
    from accelerate import Accelerator

    from diffusion.samplers import sample_images
    from diffusion.scores.grids import save_grid

    torch.set_num_threads(cores())
    keep_freed_memory()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"'{folder}' cannot be written ({error.strerror}); name another folder with --to") from None
    with under_way("sampling", num_images) as tell:
        images = sample_images(
            found.model,
            found.settings,
            found.sampling,
            diffusion_steps=found.diffusion_steps,
            indices=range(num_images),
            seed=seed,
            device=Accelerator().device,
            on_progress=tell,
        )
    _save(images, folder, are_latents=found.settings.values is not None)
    save_grid(images[:GRID_IMAGES], folder / "grid.png")
    return Drawn(
        folder=str(folder),
        grid=str(folder / "grid.png"),
        num_images=num_images,
        sampler=found.sampling.sampler,
        sampling_steps=found.sampling.steps,
        variance=found.sampling.variance,
        seed=seed,
    )


def _save(images: "Values", folder: Path, *, are_latents: bool) -> None:  # (N, C, R, R)
    """One PNG for each image, or all latents as one array."""
    import numpy as np
    from PIL import Image

    if are_latents:
        np.save(folder / "latents.npy", images, allow_pickle=False)
        return
    for index, image in enumerate(each("writing images", images, len(images))):
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(folder / f"{index:05d}.png")


def print_drawn(console: Console, found: Drawn) -> None:
    """Where the images are and how they were drawn."""
    variance = f", variance {found.variance}" if found.variance else ""
    say(
        console,
        f"{found.num_images} images in {found.sampling_steps} {found.sampler} steps{variance}, seed {found.seed}:",
    )
    say(console, f"{found.folder}\n{found.grid}", whole=True)
