"""``diffnas-agent compress``: make a trained UNet cheaper, block by block."""

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import DryRun, Json, configured, number_option, option
from diffusion.frozen import MOST

if TYPE_CHECKING:
    from agent.config.sources import Resolved


@configured(
    "preset", "seed", "name", "count", "data", "strategy", "score", "parallel", "jobs", "places",
    parallel="trainings of the student at once",
)  # fmt: skip
def compress(
    settings: "Resolved",
    teacher: Annotated[
        str, typer.Argument(metavar="TEACHER", help="A trial, a diffusers folder, or an id of the hub.")
    ],
    target: Annotated[float, option("SHARE", "The most of the teacher's MACs, and of its parameters.")] = 0.5,
    method: Annotated[
        str, option("METHOD", "blockwise, global, magnitude, torch-pruning, random or scratch.")
    ] = "blockwise",
    supernet_steps: Annotated[
        int, number_option("N", "Steps in which candidates learn; 0 judges slices of the teacher.", least=0, most=MOST)
    ] = 0,
    candidates: Annotated[
        int, number_option("N", "Students judged at most: of each block, or in all.", most=MOST)
    ] = 1000,
    start: Annotated[
        str | None, option("START", "First weights: supernet, teacher or random; default: what suits the method.")
    ] = None,
    beta: Annotated[
        str | None, option("BETA", "Weight of the noise, 0..1 for a rising one; default: what suits the method.")
    ] = None,
    ramp: Annotated[str, option("RAMP", "How it rises: early, linear or cosine.")] = "early",
    seeds: Annotated[int, number_option("N", "Trainings of the student; three give an interval.", least=0)] = 1,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a trained UNet cheaper, as a search of its own: the same pictures for half the MACs and parameters."""
    from agent.compress.begin import begin
    from agent.compress.plan import Wanted

    wanted = Wanted(teacher, method, target, supernet_steps, candidates, start, beta, ramp, seeds)
    raise typer.Exit(begin(settings, wanted, dry_run=dry_run, as_json=as_json))
