"""The images that trials drew, as files in their run folders; nothing a memory says can name a file elsewhere."""

import base64
import io
from pathlib import Path
from typing import Literal

from sqlite_utils import Database

from agent.page.data import Grid, Point
from diffusion.scores.kept import grid_path
from memory.schema.places import folder_of

MOST_PIXELS = 16_000_000  # of a file: what claims to hold more is no grid of ours
LARGEST_SIDE = 1_024  # of a picture on the page
QUALITY = 90  # of photographs; drawings of few colours stay as they are


def grids_of(db: Database, protocol: str, best: Point | None, baseline: Point | None) -> list[Grid]:
    """The grids of the best and the baseline that began with the same noise; of one alone where they share none."""
    found = [grids_by_seed(db, protocol, each) if each else {} for each in (best, baseline)]
    shared = sorted(found[0].keys() & found[1].keys())
    is_one = best is not None and baseline is not None and best.trial == baseline.trial
    pairs: list[tuple[Literal["best", "baseline"], Point | None, dict[int, Path]]] = [
        ("best", None if is_one else best, found[0]),
        ("baseline", baseline, found[1]),
    ]
    return [
        Grid(trial=trial.trial, spec=trial.spec, role=role, seed=seed, path=str(grids[seed]))
        for role, trial, grids in pairs
        if trial is not None and grids
        for seed in [min(shared or grids)]
    ]


def grids_by_seed(db: Database, protocol: str, trial: Point) -> dict[int, Path]:
    """The grids of a trial under a protocol by the seed of their noise, where the files are there."""
    row = db.conn.execute("SELECT run_folder FROM trainings WHERE id = ?", [trial.training]).fetchone()
    seeds = db.conn.execute(
        "SELECT DISTINCT sampling_seed FROM scores WHERE training = ? AND protocol = ? ORDER BY sampling_seed",
        [trial.training, protocol],
    ).fetchall()
    folder = folder_of(db.conn, row["run_folder"])
    paths = {int(each[0]): grid_path(folder, protocol, int(each[0])) for each in seeds}
    return {seed: path for seed, path in paths.items() if path.is_file() and not path.is_symlink()}


def as_data_url(path: Path) -> str | None:
    """A grid as the page holds it; None of a file that is no picture, or too large for one."""
    found = as_webp(path)
    return None if found is None else f"data:image/webp;base64,{base64.b64encode(found).decode()}"


def as_webp(path: Path) -> bytes | None:
    """A grid as a browser is given it; None of a file that is no picture, or too large for one."""
    from PIL import Image, UnidentifiedImageError

    buffer = io.BytesIO()
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > MOST_PIXELS:
                return None
            image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BOX)
            image.save(buffer, "WEBP", lossless=image.mode in ("1", "L", "P"), quality=QUALITY, method=4)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return None
    return buffer.getvalue()
