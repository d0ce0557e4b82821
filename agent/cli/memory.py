"""``diffnas-agent memory …``: read-only looks into the memory."""

from typing import Annotated

import typer

from agent.cli.complete import trials
from agent.cli.examples import epilog
from agent.cli.options import Db, Json, Limit, Name, memory_path, show
from diffusion.errors import UserError
from diffusion.units import LARGEST

app = typer.Typer(help="Look into the memory (read-only).", no_args_is_help=True)


@app.command(epilog=epilog("memory top"))
def top(
    protocol: Annotated[
        str | None,
        typer.Option(metavar="FINGERPRINT", help="Which scores; default: those of the latest search with any."),
    ] = None,
    limit: Limit = 20,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """The best trials of all searches under one protocol."""
    from agent.report.trials import print_top, trial_rows
    from memory.connection import opened
    from memory.queries.records import top_records

    with opened(memory_path(db), read_only=True) as memory:
        found = trial_rows(top_records(memory, protocol, limit))
    show(found, as_json, print_top)


@app.command(epilog=epilog("memory pareto"))
def pareto(name: Name = None, db: Db = None, as_json: Json = False) -> None:
    """Trials of a search that none beats in both cost and score."""
    from agent.config.kinds import WITH_TRIALS
    from agent.report.trials import print_top, trial_rows
    from memory.connection import opened
    from memory.queries import records
    from memory.searches import find_search

    with opened(memory_path(db), read_only=True) as memory:
        found = trial_rows(records.pareto(memory, find_search(memory, name, WITH_TRIALS).id))
    show(found, as_json, print_top)


@app.command(epilog=epilog("memory failures"))
def failures(name: Name = None, limit: Limit = 20, db: Db = None, as_json: Json = False) -> None:
    """Failed trials and refused proposals of a search, with their reasons."""
    from agent.report.trials import FailureRow, print_failures
    from memory.connection import opened
    from memory.queries import progress
    from memory.searches import find_search

    with opened(memory_path(db), read_only=True) as memory:
        rows = progress.failures(memory, find_search(memory, name).id, limit)
    show([FailureRow(**row) for row in rows], as_json, print_failures)


@app.command("show", epilog=epilog("memory show"))
def show_command(
    trial: Annotated[
        int, typer.Argument(min=1, max=LARGEST, metavar="ID", help="Number of a trial.", autocompletion=trials)
    ],
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Everything about one trial."""
    from agent.report.trials import ShownTrial, print_trial
    from memory.connection import opened
    from memory.queries.records import show_trial

    with opened(memory_path(db), read_only=True) as memory:
        found = ShownTrial(**show_trial(memory, trial))
    show(found, as_json, print_trial)


@app.command(epilog=epilog("memory sql"))
def sql(
    statement: Annotated[
        str, typer.Argument(metavar="SELECT", help='One SELECT, e.g. "SELECT spec, rfid FROM results".')
    ],
    limit: Limit = 1000,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Read-only SQL on the memory; the view `results` has a row for each trial."""
    from agent.report.status import print_rows
    from memory.queries.sql import SqlRefused, read_only_sql

    try:
        found = read_only_sql(memory_path(db), statement, max_rows=limit)
    except SqlRefused as error:
        raise UserError(f"'{statement}': {error}") from None
    show(found, as_json, print_rows)
