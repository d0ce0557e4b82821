"""``--max-params``, ``--max-memory``, ``--max-latency``: limits beside the budget, held from the first proposal on.

Each becomes a directive of the kind ``cap`` when the search is opened: so it stands in memory, in every prompt, and
before every proposal, whoever makes it, and a person may take it back. The baseline has to obey it from the start.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from typing import NamedTuple

import numpy as np
from sqlite_utils import Database

from agent.config.bench import machine_of
from agent.config.settings import RunConfig
from agent.search.plan import Plan, jobs_of
from diffusion.errors import UserError
from diffusion.neighbourhood import distances
from diffusion.spec import Rows, UNetSpec
from diffusion.units import format_size, parse_size
from memory.directives import add_directive
from tools.errors import JobFailed
from tools.executors.machine import Share
from tools.gates.facts import Facts, Mask
from tools.gates.latency import measured_ms
from tools.gates.limits import Cap

AUTHOR = "option"
MEASURED = 8  # specs whose latency is measured at most to name one that fits


class Asked(NamedTuple):
    """One limit as it was typed."""

    option: str
    cap: Cap


def asked(config: RunConfig) -> Iterator[Asked]:
    """The limits of the settings."""
    search = config.search
    for option, what, value in (
        ("--max-params", "params", search.max_params),
        ("--max-memory", "memory_bytes", search.max_memory),
        ("--max-latency", "latency_ms", search.max_latency),
    ):
        if value is not None:
            yield Asked(f"{option} {_typed(value)}", Cap.model_validate({"what": what, "at_most": value}))


def _typed(value: float) -> str:
    """A value as one types it: with a unit where that is all of it."""
    short = format_size(value)
    return short if isinstance(value, int) and parse_size(short) == value else f"{value:.12g}"


def keep(db: Database, search: int, config: RunConfig) -> None:
    """Write the limits into memory, once."""
    for limit in asked(config):
        arguments = limit.cap.model_dump(exclude={"kind"})
        add_directive(db, search, "cap", arguments, limit.option, author=AUTHOR, key=f"{AUTHOR}-{limit.cap.what}")


def check(planned: Plan) -> None:
    """Refuse a search whose limits leave no spec, or not its baseline, before anything is trained.

    Raises:
        UserError: one sentence with the limit, the value, and what would fit.
    """
    limits = list(asked(planned.config))
    if not limits:
        return
    facts = facts_of_plan(planned)
    *before, fits = _left(facts, limits)
    for limit, left, fewer in zip(limits, before, [*before[1:], fits], strict=True):
        if not fewer.any():
            raise UserError(_empties(limit, facts, facts.rows[left]))
    for limit in limits:
        _check_baseline(limit, planned, facts, fits)


def fitting(planned: Plan) -> Rows:
    """The networks that the budget and the counted limits leave; a latency is measured, so it is none of them."""
    facts = facts_of_plan(planned)
    *_, fits = _left(facts, asked(planned.config))
    return facts.rows[fits]


def _left(facts: Facts, limits: Iterable[Asked]) -> Iterator[Mask]:
    """Which rows the budget leaves, and which are left after each of the limits."""
    caps = (limit.cap.mask(facts.rows, facts) for limit in limits)
    return accumulate(caps, np.logical_and, initial=facts.within_budget)


def facts_of_plan(planned: Plan) -> Facts:
    """What the limits are judged by, before there is a search."""
    config, share = planned.config, _share(planned)
    return Facts(
        space=config.search.space,
        budget_macs=config.search.budget,
        convention=config.search.count,
        protocol=planned.protocol,
        data_folder=config.places.out / "data",
        processes=share.processes,
        device=share.device,
    )


def _share(planned: Plan) -> Share:
    return jobs_of(planned.config, machine_of(planned.config))


def _empties(limit: Asked, facts: Facts, rows: Rows) -> str:
    """That a limit leaves nothing, with the spec that has the least of what it caps."""
    found = limit.cap.counted(rows, facts)
    least = int(np.argmin(found))
    smallest, has = UNetSpec.from_row(rows[least]), said(limit.cap, found[least])
    return f"{limit.option} leaves no spec of the space {facts.space.name}: the smallest, {smallest}, has {has}"


def said(cap: Cap, value: float) -> str:
    """A value in the words of a cap."""
    return cap.model_copy(update={"at_most": float(value)}).say().removeprefix("at most ")


def _check_baseline(limit: Asked, planned: Plan, facts: Facts, fits: Mask) -> None:
    """Raises `UserError` if the baseline exceeds a limit."""
    spec, cap = planned.baseline, limit.cap
    rows = np.array([spec.row], dtype=np.int64)
    value = _latency(planned, spec) if cap.what == "latency_ms" else float(cap.counted(rows, facts)[0])
    if value <= cap.at_most:
        return
    near = _nearest(planned, facts, facts.rows[fits])
    remedy = f"take --baseline {near}, the nearest that fits" if near else "raise it, or name a smaller --baseline"
    raise UserError(f"{limit.option}: the baseline {spec} has {said(cap, value)}; {remedy}")


def _nearest(planned: Plan, facts: Facts, rows: Rows) -> UNetSpec | None:
    """The spec nearest to the baseline that every limit leaves; a latency is measured for a few."""
    most = planned.config.search.max_latency
    if most is not None:  # what costs less is taken to be quicker
        baseline = np.array([planned.baseline.row], dtype=np.int64)
        rows = rows[facts.costs(rows).macs_total < facts.costs(baseline).macs_total]
    order = np.argsort(distances(rows, planned.baseline), kind="stable")
    specs = (UNetSpec.from_row(rows[index]) for index in order)
    if most is None:
        return next(specs, None)
    return next((spec for spec in islice(specs, MEASURED) if _latency(planned, spec) <= most), None)


def _latency(planned: Plan, spec: UNetSpec) -> float:
    """Raises `UserError` if it cannot be measured here."""
    share = _share(planned)
    try:
        return measured_ms(spec, planned.protocol.settings, share)[0]
    except JobFailed as failure:
        raise UserError(f"--max-latency {planned.config.search.max_latency:g}: {failure}") from None
