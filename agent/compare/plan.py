"""What a comparison is made of: one search for each searcher and seed, all else equal."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sqlite_utils import Database

from agent.config.settings import GROUPS, RunConfig
from agent.config.sources import check_searcher, typed_name
from agent.searchers.own import own_proposer
from diffusion.errors import UserError
from memory.searches import check_name, list_searches

FEWEST_SEEDS = 2  # one has no interval
FREE = {"baseline", "data_dir", "feature_weights", "resolution"}  # where files lie, and what data or budget decide
SAME = [
    name for group in ("search", "strategy", "data", "score") for name in GROUPS[group].model_fields if name not in FREE
]
"""The settings in which all searches of a comparison agree with what is asked for, when it goes on."""


@dataclass(frozen=True)
class Comparison:
    """Which searchers are compared, on which seeds, under which settings."""

    name: str
    searchers: tuple[str, ...]
    seeds: tuple[int, ...]
    config: RunConfig  # of every search, but for searcher, seed and name

    def __iter__(self) -> Iterator["Entry"]:
        """Its searches, seed after seed, so that a comparison that is stopped has whole seeds."""
        return (Entry(self, searcher, seed) for seed in self.seeds for searcher in self.searchers)

    @property
    def rounds(self) -> int:
        """Evaluations of each search after the baseline's."""
        return self.config.search.rounds


@dataclass(frozen=True)
class Entry:
    """One search of a comparison."""

    comparison: Comparison
    searcher: str
    seed: int

    @property
    def name(self) -> str:
        """Of the search in memory."""
        return f"{self.comparison.name}-{self.searcher.rpartition(':')[2]}-{self.seed}"

    @property
    def config(self) -> RunConfig:
        """The settings of the search; its rounds come one after the other, and no race follows them."""
        changes = {"searcher": self.searcher, "seed": self.seed, "name": self.name}
        return self.comparison.config.changed(**changes, parallel=1, race_trainings=0, prune=False, approve=False)


def planned(config: RunConfig, name: str, searchers: str, seeds: int) -> Comparison:
    """The comparison that is asked for.

    Args:
        config: of every search; its seed is the first.
        name: of the comparison, which the names of its searches begin with.
        searchers: their names with commas between.
        seeds: how many searches of each.

    Raises:
        UserError: one sentence with the remedy.
    """
    if seeds < FEWEST_SEEDS:
        raise UserError(f"--seeds {seeds}: a single seed has no interval; take at least {FEWEST_SEEDS}, better 30")
    names = tuple(dict.fromkeys(part.strip() for part in searchers.split(",") if part.strip()))
    for each in names or (searchers,):
        check_searcher(each, "--searchers")
    first = config.search.seed
    found = Comparison(name, names, tuple(range(first, first + seeds)), config)
    for entry in found:
        check_name(entry.name)
    for each in names:
        own_proposer(config.changed(searcher=each))  # what is wrong with it is said before anything is played
    return found


def check_begun(db: Database, comparison: Comparison) -> None:
    """Whether the searches that are there were begun under the settings that are asked for.

    Raises:
        UserError: one was not.
    """
    begun = {row.name: json.loads(row.config_json) for row in list_searches(db)}
    for entry in comparison:
        asked, has = entry.config.as_json(), begun.get(entry.name)
        if has is not None and (other := next((name for name in SAME if has.get(name) != asked[name]), None)):
            raise UserError(
                f"{typed_name(other, {})} {asked[other]}: '{entry.name}' was begun with {has.get(other)}; "
                "take it so, or give the comparison another name"
            )
