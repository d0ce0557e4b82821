"""``diffnas-agent strategy``: find a rapid training strategy under a cost limit."""

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import (
    Config,
    DataDir,
    Dataset,
    Db,
    DryRun,
    ExecutorName,
    Family,
    Json,
    Nproc,
    Out,
    Parallel,
    Preset,
    Resolution,
    SearchName,
    Seed,
    Setting,
    option,
    resolved,
    show,
)
from diffusion.errors import UserError

if TYPE_CHECKING:
    from agent.config.sources import Resolved
    from agent.study.arms import Study

OF_THE_SEARCH = {"cost", "standard", "study"}
NOT_SETTINGS = OF_THE_SEARCH | {"config", "setting", "dry_run", "as_json"}  # options of `strategy` that are no setting


def strategy(
    cost: Annotated[
        str, option("COST", "The most a strategy may cost: 0.5 or 50% of the standard one, or 30s of device time.")
    ] = "0.5",
    rounds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Proposals; 1 is the paper's, without any measurement to go by.")
    ] = 1,
    standard: Annotated[
        str | None,
        option("STRATEGY", "What costs are shares of: a strategy's name, or FIELD=VALUE,… (default: DATA-standard)."),
    ] = None,
    study: Annotated[
        str | None, option("STUDY", "Measure every proposal on the specs of this rank study, against its truth.")
    ] = None,
    preset: Preset = None,
    dataset: Dataset = None,
    data_dir: DataDir = None,
    resolution: Resolution = None,
    family: Family = None,
    llm: Annotated[str | None, option("ID", "Backend: openai:MODEL, anthropic:MODEL, ollama:MODEL or offline.")] = None,
    base_url: Annotated[str | None, option("URL", "An OpenAI-compatible server, e.g. http://HOST:8000/v1.")] = None,
    parallel: Parallel = None,
    nproc: Nproc = None,
    executor: ExecutorName = None,
    seed: Seed = None,
    name: SearchName = None,
    setting: Setting = None,
    config: Config = None,
    db: Db = None,
    out: Out = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Find a rapid training strategy: cheap, and ranking candidates as the standard one does."""
    options = dict(locals())
    settings = resolved(config, setting, {name: options[name] for name in options.keys() - NOT_SETTINGS})
    from agent.strategy.plan import parse_cost, planned_strategy_search

    parse_cost(cost)  # said before any work
    measured_on = _chosen_study(settings, study, standard)
    if dry_run:
        from agent.strategy.plan import estimate
        from agent.strategy.views import print_estimate

        show(estimate(settings, cost, measured_on), as_json, print_estimate)
        return
    from agent.strategy.loop import drive_strategy

    search, planned = planned_strategy_search(settings.config, cost, measured_on)
    raise typer.Exit(drive_strategy(search, planned, as_json=as_json))


def _chosen_study(settings: "Resolved", name: str | None, standard: str | None) -> "Study | None":
    """The study to measure on; the settings become those of what is searched.

    Raises:
        UserError: no such study, or a standard strategy beside the study's.
    """
    if name is None:
        from agent.strategy.plan import with_standard

        settings.config = with_standard(settings.config, standard)
        return None
    from agent.study.measure import config_of, study_of

    if standard is not None:
        raise UserError(f"--standard '{standard}': the study {name} has its own one; leave --standard out")
    found = study_of(settings.config.places.db, name)
    settings.config = config_of(settings, found)
    return found
