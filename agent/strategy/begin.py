"""What ``diffnas-agent strategy`` does: open a search for a strategy and drive it, or show what it would be."""

from dataclasses import dataclass, replace

from agent.config.sources import Resolved
from agent.report.tables import show
from agent.strategy.loop import drive_strategy
from agent.strategy.plan import estimate, parse_cost, planned_strategy_search, with_standard
from agent.strategy.views import print_estimate
from agent.study.arms import Study
from agent.study.measure import config_of, study_of
from diffusion.errors import UserError


@dataclass(frozen=True)
class Wanted:
    """What is asked for beside the settings: the limit, how many proposals, of what, measured on which rank study."""

    cost: str
    rounds: int
    standard: str | None
    study: str | None


def begin(settings: Resolved, wanted: Wanted, *, dry_run: bool, as_json: bool) -> int:
    """Search for a strategy, or show what that would be; the exit code.

    Raises:
        UserError: one sentence with the remedy.
    """
    parse_cost(wanted.cost)  # said before any work
    chosen, study = _on_study(settings, wanted)
    if dry_run:
        show(estimate(chosen, wanted.cost, study), as_json, print_estimate)
        return 0
    search, planned = planned_strategy_search(chosen.config, wanted.cost, study)
    return drive_strategy(search, planned, as_json=as_json)


def _on_study(settings: Resolved, wanted: Wanted) -> tuple[Resolved, Study | None]:
    """The settings of what is searched, and the study to measure on.

    Raises:
        UserError: no such study, or a standard strategy beside the study's.
    """
    asked = replace(
        settings,
        config=settings.config.changed(rounds=wanted.rounds),
        sources=settings.sources | {"rounds": "option"},
    )
    if wanted.study is None:
        return replace(asked, config=with_standard(asked.config, wanted.standard)), None
    if wanted.standard is not None:
        raise UserError(
            f"--standard '{wanted.standard}': the study {wanted.study} has its own one; leave --standard out"
        )
    study = study_of(asked.config.places.db, wanted.study)
    return replace(asked, config=config_of(asked, study)), study
