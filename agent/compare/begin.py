"""What ``diffnas-agent compare`` does: play the searches that are left, and say what they found."""

import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from agent.compare.plan import Comparison, check_begun, planned
from agent.compare.play import left, play
from agent.compare.report import compared
from agent.compare.tables import check_plot, draw, print_compared
from agent.config.sources import Resolved
from agent.report.console import people
from agent.report.tables import say, show
from agent.report.under_way import UnderWay
from diffusion.under_way import each, told_to
from memory.connection import check_memory, opened
from tools.executors.machine import cores


@dataclass(frozen=True)
class Wanted:
    """What is asked for beside the settings."""

    name: str
    searchers: str
    seeds: int
    plot: Path | None = None
    report: bool = False
    as_json: bool = False


def begin(settings: Resolved, wanted: Wanted) -> int:
    """Play what is left, unless only a report is asked for, and report; the exit code.

    Raises:
        UserError: one sentence with the remedy.
    """
    config = settings.config
    comparison = planned(config, wanted.name, wanted.searchers, wanted.seeds)
    if wanted.plot:
        check_plot(wanted.plot)
    check_memory(config.places.db)
    if not wanted.report:
        console = people(stderr=wanted.as_json)
        console.gone = _interrupted
        try:
            _play(comparison, console)
        except KeyboardInterrupt:
            say(people(stderr=True), "interrupted; go on by the same command")
            raise
    with opened(config.places.db, read_only=True) as db:
        check_begun(db, comparison)
        found = compared(db, comparison)
    show(found, wanted.as_json, print_compared)
    if wanted.plot:
        draw(found, wanted.plot)
        say(people(stderr=wanted.as_json), f"Drawn: {wanted.plot}", whole=True)
    return 0


def _interrupted() -> None:
    """Whoever read the lines has gone, such as `head`: all that runs saves and stops, as on Ctrl-C."""
    raise KeyboardInterrupt


def _play(comparison: Comparison, console: Console) -> None:
    asked = comparison.config.search.parallel
    waiting = len(left(comparison))
    processes = max(1, min(waiting, cores() if asked == "auto" else asked))
    say(console, f"{comparison.name}: {waiting} searches to play, {processes} at once.")
    if waiting and comparison.config.search.bench is None:
        say(console, "Every network is trained for real; --bench unetbench looks results up, in seconds a search.")
    shown = people(stderr=True)
    shown.file = sys.stderr  # a search that is played in this process has that of another file
    with closing(UnderWay(shown)) as lines, told_to(lines), closing(play(comparison, processes)) as played:
        for number, entry in enumerate(each("playing searches", played, waiting), 1):
            say(console, f"{number} of {waiting}: {entry.searcher}, seed {entry.seed}")
