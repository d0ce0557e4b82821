"""What the program says where it is called without a command: how things stand in this folder, and what comes next.

It only reads, and imports little: the answer is there in less than half a second.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from agent.report.guide.next_steps import Step, print_steps, steps_of
from agent.report.status import compared, search_status, standing
from agent.report.tables import say
from diffusion.errors import command
from memory.connection import check_memory, opened
from memory.searches import LIVE, SearchRow, list_searches

WHAT = (
    "diffnas-agent searches, with a language model, for the UNet that makes the best diffusion model under a compute "
    "budget."
)


def greet(console: Console, path: Path) -> None:
    """Say how things stand in the memory of a path, or that there is none, and what may be done next.

    Raises:
        UserError: the memory is of another program, of another version, or cannot be read or made.
    """
    if path.exists() and path.stat().st_size:
        with opened(path, read_only=True) as memory:
            if rows := list_searches(memory):
                row = most_pressing(rows)
                found = search_status(memory, str(row.id))
                for line in (standing(found), *compared(found)):
                    say(console, line)
                if len(rows) > 1:
                    more = "1 other search is" if len(rows) == 2 else f"{len(rows) - 1} other searches are"
                    say(console, f"{more} in {path}; {command('list', db=path)} shows them.", whole=True)
                print_steps(console, steps_of(row, found, path))
                _say_help(console)
                return
    check_memory(path)
    say(console, f"{WHAT} There is no search in {path} yet.")
    print_steps(console, _first_steps(path))
    _say_help(console)


def most_pressing(rows: Sequence[SearchRow]) -> SearchRow:
    """Of all searches, the latest first, that which a process drives now, or else the latest that is no part of one."""
    whole = [row for row in rows if row.kind != "measurement"] or rows
    return next((row for row in whole if row.state in LIVE), whole[0])


def _first_steps(path: Path) -> list[Step]:
    return [
        Step("see whether everything is there that a search needs", command("doctor", db=path)),
        Step(
            "search on handwritten digits that come along: no key, no download, no GPU, about 12 minutes on two cores",
            command("run", "--preset", "digits", db=path),
        ),
    ]


def _say_help(console: Console) -> None:
    say(console, "All commands: diffnas-agent --help")
