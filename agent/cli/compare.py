"""``diffnas-agent compare``: searchers against each other, on the same seeds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import Json, configured, number_option, option, path_option
from agent.config.settings import SEARCHERS

if TYPE_CHECKING:
    from agent.config.sources import Resolved

KEYLESS = ",".join(name for name in SEARCHERS if name != "llm")
NAME = "comparison"


@configured(
    "search", "backend", "data", "strategy", "score", "jobs", "places", "-searcher", "-name",
    "-approve", "-prune",
    rounds="evaluations of each search after the baseline's", seed="the first of the seeds",
    parallel="searches at once", bench="the table in which results are looked up; without one networks are trained",
)  # fmt: skip
def compare(
    settings: "Resolved",
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the comparison.")] = NAME,
    searchers: Annotated[str, option("NAME,NAME,…", "Which searchers.")] = KEYLESS,
    seeds: Annotated[int, number_option("N", "Searches of each, each with a seed of its own.")] = 30,
    plot: Annotated[Path | None, path_option("FILE", "Draw the regret there (needs matplotlib).")] = None,
    report: Annotated[bool, typer.Option("--report", help="Say what is known so far; play nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Compare searchers on the same seeds: on a table of trained networks, or for real."""
    from agent.compare.begin import Wanted, begin

    raise typer.Exit(begin(settings, Wanted(name, searchers, seeds, plot, report, as_json)))
