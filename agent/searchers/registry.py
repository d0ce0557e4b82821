"""The searchers that are no language model, by name. Each is imported when it is made: Optuna alone takes 0.2 s."""

from importlib import import_module
from typing import NamedTuple, cast

from agent.searchers.base import Searcher
from diffusion.errors import UserError


class Entry(NamedTuple):
    """Where a searcher is, and what it does in a few words."""

    module: str
    maker: str
    does: str


ENTRIES = {
    "random": Entry("random_search", "Random", "any feasible spec, each as likely as any other"),
    "local": Entry("local", "Local", "an untried neighbour of the best trial"),
    "evolution": Entry("evolution", "Evolution", "regularised evolution: a child of the best of a few young trials"),
    "gp": Entry("gp", "GP", "the feasible spec of which a Gaussian process expects most"),
    "tpe": Entry("tpe", "TPE", "Optuna's tree-structured Parzen estimator"),
    "cma": Entry("cma", "CMA", "CMA-ES with margin over the places of the space"),
}

SEARCHERS = {name: entry.does for name, entry in ENTRIES.items()}
"""One line about each, for help and tables."""


def make_searcher(name: str) -> Searcher:
    """A searcher that was told nothing yet.

    Raises:
        UserError: there is none of that name.
    """
    if name not in ENTRIES:
        raise UserError(f"'{name}' is not a searcher; there are {', '.join(ENTRIES)}")
    entry = ENTRIES[name]
    return cast(Searcher, getattr(import_module(f"agent.searchers.{entry.module}"), entry.maker)())
