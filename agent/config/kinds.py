"""The kinds of searches that a memory holds, one row each: who proposes in it, and what else may be done with it.

`searches.kind` names the row. What goes on with a search is named by its place, since this stands below all of them and
a command is to start without the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from diffusion.errors import UserError
from memory.searches import Kind, SearchRow


@dataclass(frozen=True)
class SearchKind:
    """What is to be known of a kind wherever one is met."""

    name: Kind
    resumed_by: str | None  # module:function, (number, plan, as_json) → exit code; None where another search resumes it
    proposer: str = ""  # of its trials, its searcher and its backend, where the settings name none
    takes_directives: bool = False
    forks: bool = False  # whether a copy may go on with another language model
    looks_up: bool = False  # whether a table may stand in for its trainings


RUN = SearchKind("run", "agent.search.drive:drive", takes_directives=True, forks=True, looks_up=True)
TRAIN = SearchKind("train", "agent.trials.train:drive_training", "hand")
STUDY = SearchKind("study", "agent.study.run:resume_arm", "rank-study")  # an arm of one
MEASUREMENT = SearchKind("measurement", None, "rank-study")  # of one strategy, beside the arms of a study
STRATEGY = SearchKind("strategy", "agent.strategy.loop:drive_strategy", takes_directives=True)
CONFIRM = SearchKind("confirm", "agent.trials.confirm:drive_confirm", "confirm")
COMPRESS = SearchKind("compress", "agent.compress.loop:drive_compression", takes_directives=True)

KINDS = {kind.name: kind for kind in (RUN, TRAIN, STUDY, MEASUREMENT, STRATEGY, CONFIRM, COMPRESS)}

FORKED = tuple(name for name, kind in KINDS.items() if kind.forks)
STEERED = tuple(name for name, kind in KINDS.items() if kind.takes_directives)
RESUMED = tuple(name for name, kind in KINDS.items() if kind.resumed_by)
WITH_TRIALS = tuple(name for name in KINDS if name != STRATEGY.name)


def resumed(found: SearchRow) -> Callable[..., int]:
    """What goes on with a search.

    Raises:
        UserError: another search does.
    """
    place = KINDS[found.kind].resumed_by
    if place is None:
        raise UserError(f"'{found.name}' measures a strategy; resume the search for strategies that proposed it")
    module, _, name = place.partition(":")
    go_on: Callable[..., int] = getattr(import_module(module), name)
    return go_on
