"""``diffnas-agent confirm``: train the best of a search in full, with several seeds, and say what may be said."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.options import Db, DryRun, ExecutorName, Json, LogWith, Nproc, Parallel, memory_path, option, show


def confirm(
    trials: Annotated[list[int] | None, typer.Argument(metavar="[TRIAL]...", help="Trials; default: the best.")] = None,
    search: Annotated[str | None, option("NAME", "The search they are of; default: the latest.")] = None,
    top: Annotated[int, typer.Option(min=1, metavar="K", help="How many of the best, without the baseline.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Training seeds of each; verdicts take three.")] = 3,
    strategy: Annotated[
        str | None, option("STRATEGY", "A preset's name, or FIELD=VALUE,…; default: DATA-standard, twice as long.")
    ] = None,
    name: Annotated[str | None, option("NAME", "Name of the search that this becomes.")] = None,
    num_images: Annotated[int | None, option("N", "Images sampled for each score.")] = None,
    sampling_steps: Annotated[int | None, option("N", "Steps of the sampler for each image.")] = None,
    parallel: Parallel = None,
    nproc: Nproc = None,
    executor: ExecutorName = None,
    log_with: LogWith = None,
    db: Db = None,
    out: Annotated[Path | None, option("DIR", "Checkpoints and images (default: the search's).")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train the best in full with several seeds, beside the baseline, and recommend one."""
    from agent.config.strategies import parse_strategy
    from agent.trials.confirm import drive_confirm, full_strategy, open_confirm, picked, planned_confirm, print_plan
    from memory.connection import opened
    from memory.searches import find_protocol, find_search

    path = memory_path(db)
    with opened(path, read_only=True) as memory:
        source = find_search(memory, search)
        protocol = find_protocol(memory, source.protocol)
        asked = picked(memory, source, trials or (), top, seeds)
    full = full_strategy(protocol)
    chosen = parse_strategy(strategy, full, "--strategy") if strategy else full
    changes: dict[str, Any] = {"db": path, "out": out, "num_images": num_images, "sampling_steps": sampling_steps}
    changes |= {"parallel": parallel, "nproc": nproc, "executor": executor, "log_with": log_with}
    planned = planned_confirm(source, protocol, asked, chosen, changes)
    named = planned.config.changed(name=name or f"{source.name}-confirm")
    planned = replace(planned, config=named)
    if dry_run:
        trainings = (1 + len(asked.specs)) * seeds
        plan = {
            "baseline": str(asked.baseline),
            "specs": [str(spec) for spec in asked.specs],
            "seeds": seeds,
            "trainings": trainings,
            "strategy": chosen.model_dump(mode="json"),
            "protocol": planned.protocol.fingerprint,
        }
        show(plan, as_json, print_plan)
        return
    with opened(path) as memory:
        number = open_confirm(memory, planned, asked.specs)
    raise typer.Exit(drive_confirm(number, planned, as_json=as_json))
