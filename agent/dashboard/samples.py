"""The images of a trial, by its number: nothing that a memory or a tab says names a file outside of the run folder."""

from pathlib import Path

from agent.dashboard.watch import Watch
from agent.page.pictures import as_webp
from diffusion.errors import UserError


def seeds(watch: Watch, out: Path | None, search: int, trial: int) -> list[int]:
    """The seeds of the noise of a trial's grids.

    Raises:
        UserError: there is no such search, or the grids lie elsewhere.
    """
    found = watch.grids(search, trial)
    inside = [seed for seed, path in found.items() if is_inside(path, watch.path, out)]
    if found and not inside:
        raise UserError(
            f"'trial {trial}': its images lie outside of the folder of the memory; name their folder with --out"
        )
    return inside


def sample(watch: Watch, out: Path | None, search: int, trial: int, seed: int) -> bytes | None:
    """A grid as WebP; None where there is none, or none that may be shown.

    Raises:
        UserError: there is no such search.
    """
    path = watch.grids(search, trial).get(seed)
    return as_webp(path) if path is not None and is_inside(path, watch.path, out) else None


def is_inside(path: Path, memory: Path, out: Path | None) -> bool:
    """Whether a file lies in the run folder, or below the memory's folder, wherever links lead."""
    folders = [memory.absolute().parent, *([] if out is None else [out.absolute()])]
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)
