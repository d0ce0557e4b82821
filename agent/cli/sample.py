"""``diffnas-agent sample``: draw images."""

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import (
    Db,
    Json,
    Sampler,
    SamplingSteps,
    Step,
    memory_path,
    show,
)


def sample(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A trial's number, or an exported folder.")],
    num_images: Annotated[int, typer.Option(min=1, metavar="N", help="How many images.")] = 64,
    sampler: Sampler = None,
    sampling_steps: SamplingSteps = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the images.")] = 0,
    step: Step = None,
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the images go (default OUT/samples/…).")] = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Draw images: one PNG each, and a grid of the first hundred."""
    from agent.trials.sample import draw, print_drawn

    found = draw(
        memory_path(db), source, num_images, sampler=sampler, steps=sampling_steps, seed=seed, step=step, to=to
    )
    show(found, as_json, print_drawn)
