"""A rank study: the same specs trained under two strategies and in full, as searches in the same memory.

Each *arm* is a search of its own (searcher ``rank-study``): one strategy, one seed, and round i is spec i of the study
in every arm. The proxies ``rapid`` and ``standard`` share the study's seed, so that they are paired; ``truth-1``,
``truth-2``, … are full trainings with the standard strategy on later seeds, so that no proxy is a prefix of its own
truth. Proxies are scored at several steps, each under the protocol of a training of so many steps, which the averaged
weights there equal.

What was trained and scored stands in memory alone: the same study started again does what is left, and a trial that
failed stays failed. What the scores say is `agent.study_report`'s.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sqlite_utils import Database

from agent.config import RunConfig
from agent.search import Plan, check, open_search, plan, reopened
from diffusion.cost import costs
from diffusion.errors import UserError
from diffusion.ranking import FEWEST
from diffusion.settings import Protocol, Settings, Strategy, choose_sampling
from diffusion.spec import UNetSpec
from memory.connection import database_path, transaction
from memory.searches import SearchRow, check_name, find_protocol, list_searches

STUDY = "rank-study"  # the searcher of an arm, its backend and the proposer of its trials
RAPID, STANDARD, TRUTH = "rapid", "standard", "truth-"
FEWEST_TRUTH_SEEDS = 2
TRUTH_FACTOR = 2  # the full training's steps, as a multiple of the standard strategy's, unless they are asked for
SCORE_FRACTIONS = (0.25, 0.5)  # of a proxy's steps: where it is scored before its end
SHOWN_DIFFERENCES = 3
HOW_JOBS_RUN = ("parallel", "nproc", "executor", "log_with")  # what a process that goes on with a study may change


@dataclass(frozen=True)
class Asked:
    """What a study is to compare; the rest are the settings."""

    name: str
    specs: int
    rapid: Strategy
    standard: Strategy
    truth_steps: int | None = None
    truth_seeds: int = FEWEST_TRUTH_SEEDS
    score_steps: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Arm:
    """One strategy and one seed for all specs; `search` is its row in memory, 0 before there is one."""

    name: str
    planned: Plan
    score_steps: tuple[int, ...]  # ascending; the last is the end of the training
    search: int = 0

    @property
    def protocol(self) -> Protocol:
        """What its last scores are comparable under."""
        return self.planned.protocol

    @property
    def strategy(self) -> Strategy:
        """How its specs are trained."""
        return self.protocol.strategy

    @property
    def seed(self) -> int:
        """Of its trainings and images."""
        return self.planned.config.seed

    @property
    def is_truth(self) -> bool:
        """Whether it is a full training."""
        return self.name.startswith(TRUTH)

    def protocol_at(self, step: int) -> Protocol:
        """What its scores at a step are comparable under."""
        strategy = self.strategy.model_copy(update={"train_steps": step})
        return self.protocol.model_copy(update={"strategy": strategy})


@dataclass(frozen=True)
class Study:
    """Specs and arms, which are in the order in which they are trained: the proxies, then the full trainings."""

    name: str
    specs: tuple[UNetSpec, ...]  # the baseline first
    arms: tuple[Arm, ...]

    @property
    def proxies(self) -> tuple[Arm, ...]:
        """The short trainings."""
        return tuple(arm for arm in self.arms if not arm.is_truth)

    @property
    def truths(self) -> tuple[Arm, ...]:
        """The full ones."""
        return tuple(arm for arm in self.arms if arm.is_truth)

    def arm(self, name: str) -> Arm:
        """The arm of a name.

        Raises:
            UserError: there is none.
        """
        found = next((arm for arm in self.arms if arm.name == name), None)
        if found is None:
            raise UserError(f"'{name}' is no arm of the study {self.name}; there are {', '.join(self.arm_names)}")
        return found

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Their names in order."""
        return tuple(arm.name for arm in self.arms)


def plan_study(config: RunConfig, asked: Asked) -> Study:
    """Check everything, prepare the data, choose the specs; nothing is written into memory.

    Raises:
        UserError: one sentence with the remedy.
    """
    _check(asked)
    first = plan(_arm_config(config, asked, STANDARD, asked.standard, config.seed, ()))
    settings = first.protocol.settings
    specs = stratified_specs(config, settings, first.baseline, asked.specs, config.seed)
    truth = asked.standard.model_copy(update={"train_steps": truth_steps(asked)})
    of = [(RAPID, asked.rapid, config.seed), (STANDARD, asked.standard, config.seed)]
    of += [(f"{TRUTH}{number}", truth, config.seed + number) for number in range(1, asked.truth_seeds + 1)]
    arms = tuple(_arm(first, config, asked, name, strategy, seed) for name, strategy, seed in of)
    study = Study(asked.name, specs, arms)
    check_one_protocol(study)
    return study


def truth_steps(asked: Asked) -> int:
    """How long the full trainings are."""
    return asked.truth_steps or TRUTH_FACTOR * asked.standard.train_steps


def _check(asked: Asked) -> None:
    """What can be wrong before any data are read."""
    check_name(asked.name)
    check_name(f"{asked.name}-{TRUTH}{asked.truth_seeds}")
    if asked.specs < FEWEST:
        raise UserError(f"--specs {asked.specs}: fewer than {FEWEST} specs cannot tell a ranking; take more")
    if asked.truth_seeds < FEWEST_TRUTH_SEEDS:
        raise UserError(f"--truth-seeds {asked.truth_seeds}: a truth takes at least {FEWEST_TRUTH_SEEDS} seeds a spec")
    if truth_steps(asked) < asked.standard.train_steps:
        least = asked.standard.train_steps
        raise UserError(f"--truth-steps {asked.truth_steps}: the standard strategy itself has {least}; take more")
    if asked.rapid == asked.standard:
        raise UserError("--rapid is the same as --standard, so there is nothing to compare; change one of them")
    longest = max(asked.rapid.train_steps, asked.standard.train_steps)
    if late := [step for step in asked.score_steps or () if not 1 <= step <= longest]:
        raise UserError(f"--score-steps {late[0]}: the proxies are trained from step 1 to {longest}")


def _arm(first: Plan, config: RunConfig, asked: Asked, name: str, strategy: Strategy, seed: int) -> Arm:
    steps = score_steps(strategy, asked.score_steps) if not name.startswith(TRUTH) else (strategy.train_steps,)
    own = _arm_config(config, asked, name, strategy, seed, steps)
    check(own)
    if first.card and strategy.batch_size > first.card.train_count:
        count = first.card.train_count
        raise UserError(f"--{name} batch_size={strategy.batch_size}: the data set has only {count} training images")
    score = first.protocol.score
    sampling = choose_sampling(score.sampler, score.sampling_steps, config.family, strategy.diffusion_steps)
    taken = score.model_copy(update={"variance": sampling.variance})
    protocol = first.protocol.model_copy(update={"strategy": strategy, "score": taken})
    return Arm(name, Plan(own, protocol, first.baseline, first.card, first.notes), steps)


def score_steps(strategy: Strategy, asked: Sequence[int] | None) -> tuple[int, ...]:
    """Where a proxy is scored: the steps that it reaches of those asked for, and its end."""
    end = strategy.train_steps
    steps = asked or [max(1, round(fraction * end)) for fraction in SCORE_FRACTIONS]
    return tuple(sorted({step for step in steps if step < end} | {end}))


def _arm_config(
    config: RunConfig, asked: Asked, name: str, strategy: Strategy, seed: int, steps: tuple[int, ...]
) -> RunConfig:
    """The settings of an arm, so that `evaluate`, `sample` and `export` understand its trials."""
    changes: dict[str, Any] = {"searcher": STUDY, "llm": "offline", "prune": False, "rounds": asked.specs - 1}
    changes |= strategy.model_dump() | {"seed": seed, "name": f"{asked.name}-{name}", "snapshot_steps": steps or None}
    return config.model_copy(update=changes)


def stratified_specs(
    config: RunConfig, settings: Settings, baseline: UNetSpec, count: int, seed: int
) -> tuple[UNetSpec, ...]:
    """The baseline, and one spec from each of `count` - 1 equally large strata of MACs within the budget, shuffled.

    Raises:
        UserError: the budget admits fewer specs.
    """
    rows = config.search_space.rows()  # (size, 10)
    size = (settings.family, settings.resolution, settings.channels)
    macs = costs(rows, *size).macs(config.count)  # (size,)
    others = np.flatnonzero((macs <= config.budget) & (rows != np.array(baseline.row)).any(axis=1))
    if len(others) < count - 1:
        raise UserError(f"--specs {count}: the budget admits only {len(others) + 1} specs of the space {config.space}")
    strata = np.array_split(others[np.argsort(macs[others], kind="stable")], count - 1)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation([rng.choice(stratum) for stratum in strata])
    return (baseline, *(UNetSpec.from_row(rows[index]) for index in chosen))


def check_one_protocol(study: Study) -> None:
    """Refuse a study whose arms differ in more than strategy and seed, or whose truths are not one strategy.

    Raises:
        UserError: it names the difference.
    """
    first = study.arms[0]
    for arm in study.arms[1:]:
        ignored = ("strategy.",)
        if found := list(protocol_differences(first.protocol, arm.protocol, first.name, arm.name, ignored)):
            raise UserError(f"'{study.name}' mixes protocols: {found[0]}; take one for the whole study")
    for arm in study.truths[1:]:
        first = study.truths[0]
        if found := list(protocol_differences(first.protocol, arm.protocol, first.name, arm.name)):
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
    return [row for row in reversed(list_searches(db)) if row.searcher == STUDY]


def _told(row: SearchRow) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row.config_json)
    return found


def _stored_arm(db: Database, row: SearchRow, overrides: dict[str, Any] | None) -> Arm:
    told, protocol = _told(row), find_protocol(db, row.protocol)
    if overrides is None:
        config = RunConfig.model_validate(told)
        planned = Plan(config, protocol, config.baseline, None, ())
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


def open_arm(db: Database, study: Study, arm: Arm) -> int:
    """The search of an arm, which is made if it is not there."""
    config = arm.planned.config
    known = next((row for row in list_searches(db) if row.name == config.name), None)
    if known is not None and known.searcher == config.searcher and _told(known)["study"] == study.name:
        return known.id
    told: dict[str, Any] = {"study": study.name, "arm": arm.name, "specs": [str(spec) for spec in study.specs]}
    told |= {"score_steps": arm.score_steps, "train": "full" if arm.is_truth else "rapid"}
    return open_search(db, arm.planned, backend=STUDY, told=told)


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
