"""``diffnas-agent rank-study``: how well cheap training strategies rank specs, measured on one's own data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.complete import strategies
from agent.cli.options import DryRun, Json, configured, number_option, option, path_option
from agent.config.settings import HOW_JOBS_RUN
from diffusion.frozen import MOST

if TYPE_CHECKING:
    from agent.config.sources import Resolved

DEFAULT_SPECS = 24


@configured(
    "budget", "count", "space", "baseline", "seed", "preset", "data", "batch_size", "score", *HOW_JOBS_RUN, "places",
    baseline="the spec that is always in it",
)  # fmt: skip
def rank_study(
    settings: "Resolved",
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the study.")] = None,
    specs: Annotated[
        int, number_option("N", "Specs: the baseline, and one from each stratum of MACs.")
    ] = DEFAULT_SPECS,
    rapid: Annotated[
        str | None, option("STRATEGY", "The cheap strategy: a preset's name, or FIELD=VALUE,….", strategies)
    ] = None,
    standard: Annotated[
        str | None, option("STRATEGY", "The strategy that it is compared with, and the truth's.", strategies)
    ] = None,
    truth_steps: Annotated[
        int | None, number_option("N", "Steps of the full trainings (default twice the standard's).", most=MOST)
    ] = None,
    truth_seeds: Annotated[int, number_option("N", "Full trainings of each spec, each with a seed of its own.")] = 2,
    score_steps: Annotated[str | None, option("N,N,…", "Steps at which proxies are scored beside their end.")] = None,
    also_score: Annotated[
        list[str] | None, option("FIELD=VALUE,…", "A cheaper way to score, e.g. num_images=360; repeatable.")
    ] = None,
    also_on: Annotated[str, option("ARM", "Whose weights that scores: rapid, standard, truth-1, ….")] = "rapid",
    top_k: Annotated[int, number_option("K", "For recall and regret of the best K.")] = 3,
    plots: Annotated[Path | None, path_option("DIR", "Draw the curves and the ranks there (needs matplotlib).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a study as it was begun.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Say what is known so far; train nothing.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Measure how well a rapid and a standard strategy rank specs, against full trainings."""
    from agent.study.begin import Mode, Wanted, begin

    also = tuple(also_score or ())
    wanted = Wanted(
        name, specs, rapid, standard, truth_steps, truth_seeds, score_steps, also, also_on, top_k, plots
    )  # fmt: skip
    mode = Mode(resume=resume, report=report, dry_run=dry_run, as_json=as_json)
    raise typer.Exit(begin(settings, wanted, mode))
