"""Rank studies in memory: opened, found again, and checked to be of one protocol."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlite_utils import Database

from agent.config.kinds import STUDY, SearchKind
from agent.config.stored import stored_config
from agent.search.plan import Plan, open_search, reopened
from agent.study.arms import Arm, Study
from diffusion.errors import UserError
from diffusion.settings import Protocol
from diffusion.spec import UNetSpec
from memory.connection import database_path, transaction
from memory.searches import SearchRow, find_protocol, list_searches

SHOWN_DIFFERENCES = 3


def check_one_protocol(study: Study) -> None:
    """Refuse a study whose arms differ in more than strategy and seed, or whose truths are not one strategy.

    Raises:
        UserError: it names the difference.
    """
    for (first, *others), ignored in ((study.arms, ("strategy.",)), (study.truths, ())):
        for arm in others:
            if found := list(protocol_differences(first.protocol, arm.protocol, first.name, arm.name, ignored)):
                raise UserError(f"'{study.name}' mixes protocols: {found[0]}; take one for the whole study")
    seeds = {arm.seed for arm in study.truths} & {arm.seed for arm in study.proxies}
    if seeds:
        raise UserError(f"'{study.name}' has seed {min(seeds)} in a proxy and in a truth; the truth takes seeds alone")


def protocol_differences(
    one: Protocol, other: Protocol, one_name: str, other_name: str, ignored: tuple[str, ...] = ()
) -> Iterator[str]:
    """In what two protocols differ, in words."""
    ours, theirs = (_flat(protocol.model_dump(mode="json")) for protocol in (one, other))
    for name in ours:
        if name != "settings.dataset" and not name.startswith(ignored) and ours[name] != theirs[name]:
            yield f"{name} is {ours[name]} in {one_name} and {theirs[name]} in {other_name}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def stored_study(db: Database, name: str | None, overrides: dict[str, Any] | None = None) -> Study:
    """The study of a name, or the latest one, as it stands in memory.

    Args:
        db: the memory.
        name: of the study.
        overrides: what a process that goes on with it changes, such as the executor; None to read alone.

    Raises:
        UserError: there is none, or its arms do not belong together.
    """
    rows = _rows(db)
    names = list(dict.fromkeys(_told(row)["study"] for row in reversed(rows)))  # the latest first
    if not names:
        start = "start one without --resume and --report"
        raise UserError(f"'{name or database_path(db)}': this memory holds no rank study yet; {start}")
    if name is not None and name not in names:
        raise UserError(f"'{name}' is not a rank study of this memory; there are {', '.join(names[:5])}")
    own = [row for row in rows if _told(row)["study"] == (name or names[0])]
    specs = tuple(UNetSpec.parse(text) for text in _told(own[0])["specs"])
    study = Study(name or names[0], specs, tuple(_stored_arm(db, row, overrides) for row in own))
    check_one_protocol(study)
    return study


def _rows(db: Database) -> list[SearchRow]:
    """The arms of all studies, in the order in which they were opened."""
    return [row for row in reversed(list_searches(db)) if row.kind == STUDY.name]


def _told(row: SearchRow) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row.config_json)
    return found


def _stored_arm(db: Database, row: SearchRow, overrides: dict[str, Any] | None) -> Arm:
    told, protocol = _told(row), find_protocol(db, row.protocol)
    if overrides is None:
        config = stored_config(row.config_json)
        planned = Plan(config, protocol, config.search.baseline, None, ())
    else:
        planned = reopened(row.config_json, protocol, overrides)
    return Arm(told["arm"], planned, tuple(told["score_steps"]), row.id)


def open_study(db: Database, study: Study) -> Study:
    """The study with its rows in memory, which are made if they are not there.

    Raises:
        UserError: a study of this name compares something else, or a search has the name of an arm.
    """
    with transaction(db):
        if study.name in {_told(row)["study"] for row in _rows(db)}:
            known = stored_study(db, study.name)
            if found := [*differences(known, study)]:
                raise UserError(
                    f"'{study.name}' is another study: {', '.join(found[:SHOWN_DIFFERENCES])}; go on with it by "
                    "--resume, or take another name"
                )
            return replace(study, arms=tuple(replace(arm, search=known.arm(arm.name).search) for arm in study.arms))
        return replace(study, arms=tuple(replace(arm, search=open_arm(db, study, arm)) for arm in study.arms))


def open_arm(db: Database, study: Study, arm: Arm, kind: SearchKind = STUDY) -> int:
    """The search of an arm, which is made if it is not there."""
    config = arm.planned.config
    known = next((row for row in list_searches(db) if row.name == config.search.name), None)
    if known is not None and known.kind == kind.name and _told(known)["study"] == study.name:
        return known.id
    told: dict[str, Any] = {"study": study.name, "arm": arm.name, "specs": [str(spec) for spec in study.specs]}
    told |= {"score_steps": arm.score_steps, "train": "full" if arm.is_truth else "rapid"}
    return open_search(db, arm.planned, kind, told=told)


def differences(known: Study, asked: Study) -> Iterator[str]:
    """In what a study in memory is not the one that is asked for."""
    if known.arm_names != asked.arm_names:
        yield f"its arms are {', '.join(known.arm_names)} and not {', '.join(asked.arm_names)}"
        return
    for one, other in zip(known.arms, asked.arms, strict=True):
        there, here = f"{one.name} of the memory", f"{other.name} as asked for"
        yield from protocol_differences(one.protocol, other.protocol, there, here)
        if one.seed != other.seed:
            yield f"seed is {one.seed} in {there} and {other.seed} in {here}"
        if one.score_steps != other.score_steps:
            yield f"--score-steps are {_listed(one.score_steps)} in {there} and {_listed(other.score_steps)} in {here}"
    if len(known.specs) != len(asked.specs):
        yield f"it has {len(known.specs)} specs and not {len(asked.specs)}"
    elif known.specs != asked.specs:
        yield "it has other specs (they follow from seed, space, budget and baseline)"


def _listed(steps: Sequence[int]) -> str:
    return ",".join(map(str, steps))


def free_name(db: Database) -> str:
    """A name that no study of the memory has."""
    taken = {_told(row)["study"] for row in _rows(db)}
    return next(f"study-{number}" for number in range(1, len(taken) + 2) if f"study-{number}" not in taken)
