"""Opens a search for a training strategy: what ``--cost`` means, and what bounds the proposals. No model is called."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from threading import Event
from typing import Any

from sqlite_utils import Database

from agent.config.kinds import STRATEGY
from agent.config.settings import RunConfig
from agent.config.sources import Resolved
from agent.config.strategies import default_strategy, parse_strategy
from agent.report.results import Result, Whole
from agent.search.plan import Plan, open_search, plan, written_nowhere
from agent.study.arms import Study
from agent.study.measure import MeasureOn, check_same, study_of
from diffusion.errors import UserError
from diffusion.settings import Strategy
from memory.connection import check_memory, opened
from memory.searches import find_search
from memory.strategies import training_speed
from tools.context import SearchContext
from tools.gates.strategies import StrategyLimits
from tools.propose_strategy import StrategyContext

MEASURED_ON = "measured_on"  # the key that holds the name of the rank study, if there is one
COST = "strategy_cost"  # the key of its stored settings that holds the limit
COST_TEXT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%|s)?\s*")


class StrategyEstimate(Result):
    """``strategy --dry-run --json``: what bounds the proposals."""

    settings: dict[str, Any]
    standard: Whole[Strategy]
    cost_limit: float
    note: str | None
    images_at_most: int
    bounds: Mapping[str, tuple[int | float, int | float]]
    rounds: int
    measured_on: str | None


@dataclass(frozen=True)
class CostLimit:
    """The limit E: a share of the standard strategy's cost, as it was asked for, and with where it came from."""

    share: float
    asked: str
    note: str | None = None


def parse_cost(text: str) -> tuple[float, bool]:
    """The number of ``0.5``, ``50%`` or ``30s``, and whether it is device-seconds rather than a share.

    Raises:
        UserError: it is none of these, or a share that is not above 0 and at most 1.
    """
    match = COST_TEXT.fullmatch(text)
    if not match:
        raise UserError(f"--cost '{text}' is no cost; write 0.5 or 50% of the standard strategy, or 30s of device time")
    value = float(match[1]) / (100 if match[2] == "%" else 1)
    if match[2] == "s" and value > 0:
        return value, True
    if match[2] == "s" or not 0 < value <= 1:
        raise UserError(f"--cost '{text}' is not above 0 and at most the standard strategy's cost; write 0.5 or 50%")
    return value, False


def cost_limit(db: Database | None, planned: Plan, text: str) -> CostLimit:
    """The limit that a text asks for; device-seconds are compared with what this memory has measured.

    Raises:
        UserError: the text is no cost, nothing was measured, or the limit is above the standard strategy's cost.
    """
    value, is_seconds = parse_cost(text)
    if not is_seconds:
        return CostLimit(value, text)
    protocol = planned.protocol
    speed = training_speed(db, protocol.settings, protocol.data_fingerprint) if db is not None else None
    if speed is None:
        raise UserError(
            f"--cost '{text}': this memory holds no finished training on these data, so seconds compare with nothing; "
            "write a share such as 0.5, or train one spec first with `diffnas-agent train SPEC`"
        )
    standard_seconds = speed.seconds_per_image * protocol.strategy.train_steps * protocol.strategy.batch_size
    note = f"a standard training takes about {standard_seconds:.3g} device-seconds, by {speed.trainings} trainings here"
    if value > standard_seconds:
        raise UserError(f"--cost '{text}' is more than the standard strategy's: {note}; write fewer seconds")
    return CostLimit(value / standard_seconds, text, note)


def limits_of(planned: Plan, share: float, train_images: int) -> StrategyLimits:
    """What bounds the proposals of a search."""
    return StrategyLimits(
        standard=planned.protocol.strategy,
        cost_limit=share,
        sampling_steps=planned.protocol.score.sampling_steps,
        train_images=train_images,
        processes=planned.config.jobs.nproc,
    )


def open_strategy_search(db: Database, planned: Plan, limit: CostLimit, study: str | None = None) -> int:
    """Write the search into memory; its number.

    Raises:
        UserError: its name is taken.
    """
    assert planned.card is not None, "a search is opened with its data at hand"
    cost = {"share": limit.share, "asked": limit.asked, "train_images": planned.card.train_count}
    return open_search(db, planned, STRATEGY, told={COST: cost, MEASURED_ON: study})


def stored_limits(db: Database, planned: Plan, search: int) -> StrategyLimits:
    """What bounds the proposals of a stored search."""
    cost = json.loads(find_search(db, search).config_json)[COST]
    return limits_of(planned, cost["share"], cost["train_images"])


def with_standard(config: RunConfig, text: str | None) -> RunConfig:
    """The settings with the standard strategy as their own: a named one, or FIELD=VALUE,….

    By default it is that of `rank-study`: ``digits-standard`` on the embedded digits, else ``paper-standard``.

    Raises:
        UserError: no such strategy or field, or a value outside its bounds.
    """
    named = text or default_strategy(config.data.dataset, "standard")
    return config.model_copy(update={"strategy": parse_strategy(named, config.strategy, "--standard")})


def planned_strategy_search(config: RunConfig, cost: str, study: Study | None = None) -> tuple[int, Plan]:
    """Check everything, prepare the data, and write the search into memory: its number and its plan.

    Raises:
        UserError: one sentence with the remedy.
    """
    check_memory(config.places.db)  # said before any work
    planned = plan(config.changed(searcher="llm"), kind=STRATEGY)
    if study:
        check_same(study, planned)
    with opened(config.places.db) as db:
        limit = cost_limit(db, planned, cost)
        return open_strategy_search(db, planned, limit, study.name if study else None), planned


def estimate(resolved: Resolved, cost: str, study: Study | None = None) -> StrategyEstimate:
    """``--dry-run``: the settings, the limit and the bounds; the data are checked in a folder thrown away."""
    config = resolved.config
    with written_nowhere(config) as aside:
        planned = plan(aside, kind=STRATEGY)
    if study:
        check_same(study, planned)
    if config.places.db.exists():
        with opened(config.places.db, read_only=True) as db:
            limit = cost_limit(db, planned, cost)
    else:
        limit = cost_limit(None, planned, cost)
    assert planned.card is not None, "the data are at hand"
    limits = limits_of(planned, limit.share, planned.card.train_count)
    return StrategyEstimate(
        settings=resolved.shown(),
        standard=planned.protocol.strategy,
        cost_limit=limit.share,
        note=limit.note,
        images_at_most=limits.allowed_images,
        bounds=limits.bounds(),
        rounds=config.search.rounds,
        measured_on=study.name if study else None,
    )


def stored_measure(db: Database, planned: Plan, search: int, *, as_json: bool, stop: Event) -> MeasureOn | None:
    """What measures the proposals of a stored search, until `stop`; None where they are only proposed.

    Raises:
        UserError: the study is not there any more, or its truth is not.
    """
    name = json.loads(find_search(db, search).config_json).get(MEASURED_ON)
    if name is None:
        return None
    return MeasureOn(study_of(planned.config.places.db, name, planned.config), as_json=as_json, stop=stop)


def strategy_context(context: SearchContext, limits: StrategyLimits) -> StrategyContext:
    """The context of a round with the limits of its search."""
    return StrategyContext(**{field.name: getattr(context, field.name) for field in fields(context)}, bounds=limits)
