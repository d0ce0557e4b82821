"""``diffnas-agent sample``: draw images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.options import Db, Json, Step, changing, memory_path, number_option, path_option, show
from diffusion.frozen import LARGEST_SEED, MOST


@changing("sampler", "sampling_steps")
def sample(
    changes: dict[str, Any],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A trial's number, or an exported folder.")],
    num_images: Annotated[int, number_option("N", "How many images.", most=MOST)] = 64,
    seed: Annotated[int, number_option("N", "Seed of the images.", least=0, most=LARGEST_SEED)] = 0,
    step: Step = None,
    to: Annotated[Path | None, path_option("DIR", "Where the images go (default OUT/samples/…).")] = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Draw images: one PNG each, and a grid of the first hundred."""
    from agent.trials.sample import draw, print_drawn

    show(draw(memory_path(db), source, num_images, changes, seed=seed, step=step, to=to), as_json, print_drawn)
