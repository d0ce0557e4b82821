"""A stored search for who only reads: its settings, and a context for the read tools that cannot compute anything."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.config.settings import FIELDS, RunConfig
from agent.config.sources import mistake
from diffusion.errors import UserError
from diffusion.settings import Protocol, ScoreJob, TrainJob
from memory.connection import Memory
from memory.searches import SearchRow
from tools.context import Jobs, SearchContext, SearchLimits, Services
from tools.executors.machine import Share


class NoJobs:
    """The executor of who only reads."""

    def train(self, job: TrainJob, on_progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Never asked."""
        raise AssertionError("nothing is trained here")

    def evaluate(self, job: ScoreJob, on_progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Never asked."""
        raise AssertionError("nothing is scored here")

    def kill(self) -> None:
        """Nothing runs."""


def stored_config(config_json: str, changes: dict[str, Any] | None = None) -> RunConfig:
    """The settings of a stored search, with changes.

    Raises:
        UserError: they cannot be read, a change does not fit, or the space is not what it was.
    """
    told = json.loads(config_json)  # beside the settings stands what the search was told, such as a study's arm
    values = {name: value for name, value in told.items() if name in FIELDS} | _moved(told, changes or {})
    try:
        config = RunConfig.from_flat(values)
    except ValidationError as error:
        raise mistake(error, values, {}) from None
    space = config.search.space
    if told.get("space_fingerprint", space.fingerprint) != space.fingerprint:  # earlier versions kept none
        raise UserError(
            f"'{space.name}' has other choices here ({space.fingerprint}) than where the search began "
            f"({told['space_fingerprint']}); go on with that version of diffnas-agent, or start a new search"
        )
    return config


def _moved(told: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The changes, and the run folders beside the memory where both were moved since they were told."""
    before, out, now = told.get("db"), told.get("out"), changes.get("db")
    if before is None or out is None or now is None or "out" in changes:
        return changes
    base = Path(before).parent
    if not Path(out).is_relative_to(base):
        return changes
    return {**changes, "out": Path(now).absolute().parent / Path(out).relative_to(base)}


def reading_context(
    db_path: Path, search: SearchRow, config: RunConfig, protocol: Protocol, *, round_number: int, proposer: str
) -> SearchContext:
    """A round of a stored search."""
    return SearchContext(
        search=search.id,
        round_number=round_number,
        proposer=proposer,
        limits=SearchLimits(
            config.search_space, search.budget_macs, search.count_convention, protocol, config.search.memory
        ),
        jobs=Jobs(config.places.out, search.seed, config.jobs, Share(1, config.jobs.nproc, 1)),
        services=Services(Memory(db_path.absolute()), NoJobs(), lambda event, **values: None),
    )
