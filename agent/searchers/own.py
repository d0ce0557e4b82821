"""A searcher of the user's own: ``FILE.py:CLASS``, whose file is imported where a person typed it, and nowhere else.

A name that stands in a memory, in a settings file, in the environment or in what a model says is never imported: a
search that began with such a searcher goes on only where its name is typed again.
"""

import re
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from agent.backends.registry import Address
from agent.config.settings import SEARCHERS, RunConfig, is_own
from agent.searchers.ask_tell import AskTell
from agent.searchers.base import ProposerOf, Searcher
from diffusion.errors import UserError
from diffusion.files.paths import user_path

NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")  # it stands beside every trial


def own_searcher(typed: str) -> Callable[[], Searcher]:
    """The class that a person typed as ``FILE.py:CLASS``. What its file raises when it is imported is not caught.

    Raises:
        UserError: there is no such file or class, or the class is no `Searcher`.
    """
    file, _, name = typed.rpartition(":")
    path = user_path(file)
    if not path.is_file():
        raise UserError(f"--searcher '{typed}': there is no file '{file}'; write FILE.py:CLASS")
    made = getattr(_imported(path), name, None)
    if not isinstance(made, type):
        raise UserError(f"--searcher '{typed}': '{file}' defines no class '{name}'; write FILE.py:CLASS")
    lacking = [part for part in ("name", "tell", "ask") if not hasattr(made, part)]
    if lacking:
        raise UserError(f"--searcher '{typed}': {name} has no {lacking[0]}; it needs name, tell and ask")
    own: Any = made
    if not isinstance(own.name, str) or not NAME.fullmatch(own.name) or own.name in SEARCHERS:
        raise UserError(
            f"--searcher '{typed}': its name is {own.name!r}; take lower-case letters, digits and dashes, and no name "
            f"of a built-in searcher"
        )
    return own  # type: ignore[no-any-return]


def own_proposer(config: RunConfig) -> ProposerOf | None:
    """What makes the proposer of a search whose searcher a person typed just now; None where it is a built-in one.

    Raises:
        UserError: as `own_searcher`.
    """
    if not is_own(config.search.searcher):
        return None
    return asked_and_told(own_searcher(config.search.searcher))


def asked_and_told(make: Callable[[], Searcher]) -> ProposerOf:
    """What makes a proposer of a searcher, for a `Plan` of one's own."""

    def proposer(config: RunConfig, first: Address | None = None) -> AskTell:
        return AskTell(make, make().name, config.search.rounds)

    return proposer


def _imported(path: Path) -> Any:
    """The module of a file, imported anew."""
    found = spec_from_file_location(f"searcher_{path.stem}", path)
    assert found and found.loader  # its name ends in .py
    module = module_from_spec(found)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module
