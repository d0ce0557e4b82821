"""The command line ``diffnas-agent``. Commands import what they need when they run, so that ``--help`` is quick.

A user's mistake leaves as one sentence on standard error and exit code 2; a bug of ours as a traceback and exit code 1.
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from diffusion.errors import UserError

if TYPE_CHECKING:
    from agent.config import Resolved

USER_MISTAKE, INTERRUPTED = 2, 130
NOT_SETTINGS = {"config", "setting", "dry_run", "as_json"}  # options of `run` that are no setting of the search

app = typer.Typer(
    name="diffnas-agent",
    help="Search, with a tool-calling language model, for the UNet that makes the best diffusion model under a budget.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
memory_app = typer.Typer(help="Look into the memory (read-only).", no_args_is_help=True)
app.add_typer(memory_app, name="memory")

Json = Annotated[bool, typer.Option("--json", help="Machine output on stdout; people's output goes to stderr.")]
Db = Annotated[Path | None, typer.Option(metavar="PATH", help="The memory (default ./diffnas.db, or DIFFNAS_DB).")]
Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Name or number of a search; default: the latest.")]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="Most rows to print.")]
Text = Annotated[str | None, typer.Option()]


def _option(metavar: str, text: str) -> Any:
    return typer.Option(metavar=metavar, help=text)


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Search for the UNet that makes the best diffusion model inside a compute budget."""
    if version:
        from importlib.metadata import version as installed

        print(f"diffnas-agent {installed('diffnas-agent')}")
        raise typer.Exit


@app.command()
def run(
    budget: Annotated[str | None, _option("MACS", "Hard limit on the MACs of a spec, e.g. 6.06G.")] = None,
    count: Annotated[str | None, _option("paper|total", "Counting convention of the budget.")] = None,
    preset: Annotated[str | None, _option("NAME", "digits, ddpm-cifar10 or iddpm-cifar10.")] = None,
    dataset: Annotated[
        str | None, _option("DATA", "digits, cifar10, an .npz, a folder of images, or a Hugging Face id.")
    ] = None,
    data_dir: Annotated[Path | None, _option("DIR", "Where data sets are looked for.")] = None,
    resolution: Annotated[int | None, _option("N", "Resize the images to N×N.")] = None,
    space: Annotated[str | None, _option("NAME", "Search space: images-32 or digits-8.")] = None,
    baseline: Annotated[str | None, _option("SPEC", "The spec of round 0.")] = None,
    rounds: Annotated[int | None, _option("N", "Rounds after the baseline.")] = None,
    train_steps: Annotated[int | None, _option("N", "Optimiser steps of each training.")] = None,
    batch_size: Annotated[int | None, _option("N", "Images per step.")] = None,
    num_images: Annotated[int | None, _option("N", "Images sampled for each score.")] = None,
    sampling_steps: Annotated[int | None, _option("N", "DDIM steps for each image.")] = None,
    feature_network: Annotated[
        str | None, _option("NAME", "Features of the score: digits-cnn or inception-v3-compat.")
    ] = None,
    searcher: Annotated[str | None, _option("NAME", "Who proposes: llm.")] = None,
    llm: Annotated[
        str | None, _option("ID", "Backend: openai:MODEL, anthropic:MODEL, ollama:MODEL or offline.")
    ] = None,
    base_url: Annotated[str | None, _option("URL", "An OpenAI-compatible server, e.g. http://HOST:8000/v1.")] = None,
    seed: Annotated[int | None, _option("N", "Seed of trainings, images and proposals.")] = None,
    name: Annotated[str | None, _option("NAME", "Name of the search.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting of diffnas.toml; repeatable.")
    ] = None,
    config: Annotated[Path | None, _option("FILE", "Settings (default ./diffnas.toml if there).")] = None,
    db: Db = None,
    out: Annotated[Path | None, _option("DIR", "Checkpoints, images, reports (default ./runs).")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the settings, their sources and the cost; do nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Search for the best UNet under a budget."""
    options = dict(locals())
    resolved = _resolved(config, setting, {name: options[name] for name in options.keys() - NOT_SETTINGS})
    if dry_run:
        _dry_run(resolved, as_json)
        return
    from agent.drive import drive
    from agent.search import open_search, plan
    from memory.connection import check_memory, opened

    check_memory(resolved.config.db)  # said before any work
    planned = plan(resolved.config)
    with opened(resolved.config.db) as memory:
        search = open_search(memory, planned)
    raise typer.Exit(drive(search, planned, as_json=as_json))


@app.command()
def resume(
    name: Name = None,
    llm: Annotated[str | None, typer.Option(metavar="ID", help="Go on with another backend.")] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="Go on with another server.")] = None,
    rounds: Annotated[int | None, typer.Option(min=0, metavar="N", help="A new number of rounds.")] = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Go on with an interrupted search, exactly once."""
    from agent.config import load_provider_keys
    from agent.drive import drive
    from agent.search import reopened
    from memory.connection import opened
    from memory.searches import find_protocol, find_search

    load_provider_keys()
    path = _db(db)
    with opened(path, read_only=True) as memory:
        found = find_search(memory, name)
        protocol = find_protocol(memory, found.protocol)
    overrides = {"llm": llm, "base_url": base_url, "rounds": rounds, "db": path}
    raise typer.Exit(drive(found.id, reopened(found.config_json, protocol, overrides), as_json=as_json))


@app.command()
def status(name: Name = None, db: Db = None, as_json: Json = False) -> None:
    """What runs, how far it is, what it cost."""
    from agent.views import print_status, search_status
    from memory.connection import opened

    with opened(_db(db), read_only=True) as memory:
        found = search_status(memory, name)
    _print(found, as_json, print_status)


@app.command("list")
def list_command(db: Db = None, as_json: Json = False) -> None:
    """All searches, the latest first."""
    from agent.views import all_searches, print_searches
    from memory.connection import opened

    with opened(_db(db), read_only=True) as memory:
        found = all_searches(memory)
    _print(found, as_json, print_searches)


@app.command()
def flops(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="b128-n2-m1.2.2.2-a0100, or its JSON object.")],
    family: Annotated[str, typer.Option(metavar="ddpm|iddpm", help="Which network the spec becomes.")] = "ddpm",
    resolution: Annotated[int, typer.Option(metavar="N", help="Side of the images.")] = 32,
    channels: Annotated[int, typer.Option(metavar="N", help="Channels of the images.")] = 3,
    verify: Annotated[bool, typer.Option("--verify", help="Count the real network with fvcore beside it.")] = False,
    as_json: Json = False,
) -> None:
    """Exact costs of a spec, by the closed form."""
    from agent.views import print_costs, spec_costs

    _print(spec_costs(spec, family, resolution, channels, verify=verify), as_json, print_costs)


@memory_app.command()
def top(
    protocol: Annotated[
        str | None, typer.Option(metavar="FINGERPRINT", help="Which scores; default: those of the latest search.")
    ] = None,
    limit: Limit = 20,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """The best trials of all searches under one protocol."""
    from agent.views import print_top
    from memory.connection import opened
    from memory.queries import top_records

    with opened(_db(db), read_only=True) as memory:
        found = top_records(memory, protocol, limit)
    _print(found, as_json, print_top)


@memory_app.command()
def pareto(name: Name = None, db: Db = None, as_json: Json = False) -> None:
    """Trials of a search that none beats in both cost and score."""
    from agent.views import print_top
    from memory import queries
    from memory.connection import opened
    from memory.searches import find_search

    with opened(_db(db), read_only=True) as memory:
        found = queries.pareto(memory, find_search(memory, name).id)
    _print(found, as_json, print_top)


@memory_app.command()
def failures(name: Name = None, limit: Limit = 20, db: Db = None, as_json: Json = False) -> None:
    """Failed trials and refused proposals of a search, with their reasons."""
    from agent.views import print_failures
    from memory import queries
    from memory.connection import opened
    from memory.searches import find_search

    with opened(_db(db), read_only=True) as memory:
        found = queries.failures(memory, find_search(memory, name).id, limit)
    _print(found, as_json, print_failures)


@memory_app.command()
def show(
    trial: Annotated[int, typer.Argument(metavar="ID", help="Number of a trial.")], db: Db = None, as_json: Json = False
) -> None:
    """Everything about one trial."""
    from agent.views import print_trial
    from memory.connection import opened
    from memory.queries import show_trial

    with opened(_db(db), read_only=True) as memory:
        found = show_trial(memory, trial)
    _print(found, as_json, print_trial)


@memory_app.command()
def sql(
    statement: Annotated[
        str, typer.Argument(metavar="SELECT", help='One SELECT, e.g. "SELECT spec, rfid FROM results".')
    ],
    limit: Limit = 1000,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Read-only SQL on the memory; the view `results` has a row for each trial."""
    from agent.views import print_rows
    from memory.sql import SqlRefused, read_only_sql

    try:
        found = read_only_sql(_db(db), statement, max_rows=limit)
    except SqlRefused as error:
        raise UserError(f"'{statement}': {error}") from None
    _print(found, as_json, print_rows)


def _resolved(config: Path | None, pairs: list[str] | None, options: dict[str, Any]) -> "Resolved":
    from agent.config import load_provider_keys, parse_pairs, resolve

    load_provider_keys()
    return resolve(
        parse_pairs(pairs or []) | {name: value for name, value in options.items() if value is not None}, config
    )


def _dry_run(resolved: "Resolved", as_json: bool) -> None:
    from agent.dry_run import estimate, print_estimate

    _print(estimate(resolved), as_json, print_estimate)


def _db(given: Path | None) -> Path:
    """The memory that was named by option, environment or ``.env``, or the default."""
    from agent.config import resolve

    return resolve({"db": given}).config.db


def _print(found: Any, as_json: bool, for_people: Any) -> None:
    if as_json:
        print(json.dumps(found, allow_nan=False))
        return
    from rich.console import Console

    for_people(Console(highlight=False), found)


def main() -> NoReturn:
    """Run the command line; the one place where errors become exit codes."""
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        code = _mistake(str(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader, such as head, has what it wanted
        code = 0
    except Exception as error:
        if not hasattr(error, "format_message"):  # the parser's own errors; its classes are not public
            raise
        from agent.usage import usage_sentence

        code = _mistake(usage_sentence(error))
    sys.exit(code if isinstance(code, int) else 0)


def _mistake(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return USER_MISTAKE


if __name__ == "__main__":
    main()
