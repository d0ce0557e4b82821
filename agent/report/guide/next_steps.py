"""What one may want next, as commands to paste: after a search, and where the program is called without any.

What is recommended is for the commands to find out: nothing here computes, so that it can be said at once.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from agent.report.status import SearchStatus
from agent.report.tables import say
from diffusion.errors import command
from memory.searches import SearchRow


class Step(NamedTuple):
    """A command, and what it is for."""

    purpose: str
    line: str


def print_steps(console: Console, steps: Iterable[Step]) -> None:
    """What may be done next, each command on a line of its own."""
    say(console, "Next:")
    for step in steps:
        say(console, f"  {step.purpose}")
        say(console, f"    {step.line}", whole=True)


def steps_of(row: SearchRow, found: SearchStatus, db: Path) -> list[Step]:
    """What may be done next with a search, by its state.

    Args:
        row: the search.
        found: its status.
        db: its memory.
    """
    by_state = {"running": _running, "paused": _running, "interrupted": _interrupted, "failed": _failed}
    return by_state.get(found.state, _finished)(row, found, db)


def _running(row: SearchRow, found: SearchStatus, db: Path) -> list[Step]:
    return [
        Step("see how far it is, until it ends", command("status", row.name, "--watch", db=db)),
        Step("ask it why, tell it what you want, or let it go on", command("chat", row.name, db=db))
        if found.state == "paused"
        else Step("ask it why, tell it what you want, pause it", command("chat", row.name, db=db)),
    ]


def _interrupted(row: SearchRow, found: SearchStatus, db: Path) -> list[Step]:
    steps = [Step("go on where it was; nothing finished is repeated", command("resume", row.name, db=db))]
    if found.best:
        steps.append(Step("see what there is so far, on one page", command("report", row.name, db=db)))
    return steps


def _failed(row: SearchRow, found: SearchStatus, db: Path) -> list[Step]:
    return [Step("see what failed, and why", command("memory", "failures", row.name, db=db))]


def _finished(row: SearchRow, found: SearchStatus, db: Path) -> list[Step]:
    if found.best is None:
        return _failed(row, found, db)
    steps = [Step("see everything that was found, on one page", command("report", row.name, db=db))]
    if row.kind in ("study", "measurement", "strategy", "compress"):
        return [Step("see what it found", command("status", row.name, db=db))]
    if json.loads(row.config_json).get("bench"):
        more = Step("train the best, of which the table has no weights", command("train", found.best.spec, db=db))
        return [*steps, more]
    model = f"{row.name}-model"
    steps.append(Step("take the recommended model, as diffusers loads it", command("export", row.name, model, db=db)))
    if row.kind == "run" and found.trials["scored"] > 1:
        purpose = "train the best in full beside the baseline, with several seeds"
        steps.append(Step(purpose, command("confirm", "--search", row.name, db=db)))
    return steps
