"""What `diffnas-agent generate` works from: settings or a stored search, and the trials that its predictor learns from.

Trials are those of one protocol: that of the search that is named, or of the latest one of the same space and sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from agent.config.settings import RunConfig
from agent.config.sources import Resolved
from agent.config.stored import stored_config
from diffusion.nag.generator import CostBand
from diffusion.settings import Settings
from diffusion.spec import UNetSpec
from memory.connection import opened
from memory.queries.so_far import TrialSoFar, trials_so_far
from memory.searches import SearchRow, find_protocol, find_search, list_searches
from tools.generation import graphs_of

SIZES = {"digits": (8, 1), "cifar10": (32, 3)}  # side and channels of the data sets that come along
USUAL = (32, 3)


@dataclass(frozen=True)
class Wanted:
    """What is asked for beside the settings."""

    count: int
    min_macs: int = 0
    like: UNetSpec | None = None
    source: str | None = None  # name or number of a search
    network: Path | None = None  # a trained score network in place of the closed form


@dataclass(frozen=True)
class Basis:
    """Where generating begins."""

    config: RunConfig  # with the search's space and family, where one is learned from
    band: CostBand
    trials: Sequence[TrialSoFar]
    search: str | None  # what the trials belong to


def basis_of(settings: Resolved, wanted: Wanted) -> Basis:
    """The settings, and what the memory has for them.

    Raises:
        UserError: there is no such search, or no spec meets the budget.
    """
    path = settings.config.places.db
    if wanted.source is None and not path.is_file():
        return Basis(settings.config, _band(settings.config, _sizes(settings.config), wanted), (), None)
    with opened(path, read_only=True) as db:
        return _from(db, settings, wanted)


def _from(db: Database, settings: Resolved, wanted: Wanted) -> Basis:
    config, sizes = settings.config, _sizes(settings.config)
    if wanted.source is None:
        search = _latest(db, config, sizes)
        if search is None:
            return Basis(config, _band(config, sizes, wanted), (), None)
    else:
        search = find_search(db, wanted.source)
        config, sizes = _of_search(db, settings, search)
    trials = trials_so_far(db, search.id, "memory")
    return Basis(config, _band(config, sizes, wanted), trials, search.name)


def _of_search(db: Database, settings: Resolved, search: SearchRow) -> tuple[RunConfig, tuple[int, int]]:
    """The settings of a search, but for what was typed."""
    typed = settings.config.search
    names = [name for name in ("budget", "max_params", "count", "seed") if settings.sources[name] == "option"]
    changes = {name: getattr(typed, name) for name in names}
    shape = find_protocol(db, search.protocol).settings
    return stored_config(search.config_json, changes), (shape.resolution, shape.channels)


def _latest(db: Database, config: RunConfig, sizes: tuple[int, int]) -> SearchRow | None:
    """The latest search whose trials say something here: of the same family and sizes."""
    wanted = (config.data.family, *sizes)
    for search in list_searches(db):
        found: Settings = find_protocol(db, search.protocol).settings
        if (found.family, found.resolution, found.channels) == wanted and trials_so_far(db, search.id):
            return search
    return None


def _sizes(config: RunConfig) -> tuple[int, int]:
    side, channels = SIZES.get(config.data.dataset, USUAL)
    return config.data.resolution or side, channels


def _band(config: RunConfig, sizes: tuple[int, int], wanted: Wanted) -> CostBand:
    return CostBand(
        graphs_of(config.search_space),
        most=config.search.budget,
        least=wanted.min_macs,
        most_params=config.search.max_params,
        family=config.data.family,
        resolution=sizes[0],
        channels=sizes[1],
        convention=config.search.count,
    )
