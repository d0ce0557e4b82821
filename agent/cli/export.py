"""``diffnas-agent export``: a trial as a folder that diffusers loads."""

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.complete import trials_or_searches
from agent.cli.options import Db, Json, Step, memory_path, path_argument, show


def export(
    trial: Annotated[
        str,
        typer.Argument(
            metavar="TRIAL",
            help="Number of a trial, or the name of a search: what it recommends.",
            autocompletion=trials_or_searches,
        ),
    ],
    folder: Annotated[Path, path_argument("DIR", "The folder to write.")],
    step: Step = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a folder that was exported before.")] = False,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Write a diffusers pipeline folder that `DDPMPipeline.from_pretrained` loads."""
    from agent.compress.beside import beside
    from agent.trials.export import export_asked, print_exported

    done = export_asked(memory_path(db), trial, folder, step=step, replace=replace, beside=beside)
    show(done, as_json, print_exported)
