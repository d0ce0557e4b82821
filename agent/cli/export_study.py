"""``diffnas-agent export-study``: a search as a study that optuna-dashboard opens."""

from typing import Annotated

import typer

from agent.cli.complete import searches
from agent.cli.options import Db, Json, memory_path, show


def export_study(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or number of a search.", autocompletion=searches)],
    url: Annotated[str, typer.Argument(metavar="URL", help="A database, e.g. sqlite:///study.db.")],
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Write a search as a new study of Optuna, for optuna-dashboard and its like."""
    from agent.report.optuna_study import export_study as export
    from agent.report.optuna_study import print_exported_study

    show(export(memory_path(db), name, url), as_json, print_exported_study)
