"""A rank study: the same specs trained under two strategies and in full, as searches in the same memory.

Each *arm* is a search of its own (of the kind ``study``): one strategy, one seed, and round i is spec i of the study
in every arm. The proxies ``rapid`` and ``standard`` share the study's seed, so that they are paired; ``truth-1``,
``truth-2``, … are full trainings with the standard strategy on later seeds, so that no proxy is a prefix of its own
truth. Proxies are scored at several steps, each under the protocol of a training of so many steps, which the averaged
weights there equal.

What was trained and scored stands in memory alone: the same study started again does what is left, and a trial that
failed stays failed. What the scores say is `agent.study.report`'s.
"""

from typing import Any

import numpy as np

from agent.config.backend import WITHOUT_MODEL
from agent.config.kinds import STUDY
from agent.config.settings import RunConfig
from agent.search.plan import Plan, check, plan
from agent.study.arms import FEWEST_TRUTH_SEEDS, RAPID, STANDARD, TRUTH, Arm, Asked, Study, score_steps, truth_steps
from agent.study.store import check_one_protocol
from diffusion.cost.closed_form import costs
from diffusion.errors import UserError
from diffusion.networks import distinct, networks
from diffusion.settings import Settings, Strategy, choose_sampling
from diffusion.spec import UNetSpec
from diffusion.statistics.ranking import FEWEST
from memory.searches import check_name


def plan_study(config: RunConfig, asked: Asked) -> Study:
    """Check everything, prepare the data, choose the specs; nothing is written into memory.

    Raises:
        UserError: one sentence with the remedy.
    """
    _check(asked)
    first = plan(_arm_config(config, asked, STANDARD, asked.standard, config.search.seed, ()), kind=STUDY)
    settings = first.protocol.settings
    specs = stratified_specs(config, settings, first.baseline, asked.specs, config.search.seed)
    truth = asked.standard.model_copy(update={"train_steps": truth_steps(asked)})
    of = [(RAPID, asked.rapid, config.search.seed), (STANDARD, asked.standard, config.search.seed)]
    of += [(f"{TRUTH}{number}", truth, config.search.seed + number) for number in range(1, asked.truth_seeds + 1)]
    arms = tuple(_arm(first, config, asked, name, strategy, seed) for name, strategy, seed in of)
    study = Study(asked.name, specs, arms)
    check_one_protocol(study)
    return study


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
    sampling = choose_sampling(score.sampler, score.sampling_steps, config.data.family, strategy.diffusion_steps)
    taken = score.model_copy(update={"variance": sampling.variance})
    protocol = first.protocol.model_copy(update={"strategy": strategy, "score": taken})
    return Arm(name, Plan(own, protocol, first.baseline, first.card, first.notes), steps)


def _arm_config(
    config: RunConfig, asked: Asked, name: str, strategy: Strategy, seed: int, steps: tuple[int, ...]
) -> RunConfig:
    """The settings of an arm, so that `evaluate`, `sample` and `export` understand its trials."""
    changes: dict[str, Any] = {"searcher": STUDY.proposer, "prune": False, "rounds": asked.specs - 1, **WITHOUT_MODEL}
    changes |= strategy.model_dump() | {"seed": seed, "name": f"{asked.name}-{name}", "snapshot_steps": steps or None}
    return config.changed(**changes)


def stratified_specs(
    config: RunConfig, settings: Settings, baseline: UNetSpec, count: int, seed: int
) -> tuple[UNetSpec, ...]:
    """The baseline, and one network from each of `count` - 1 equally large strata of MACs within the budget, shuffled.

    Raises:
        UserError: the budget admits fewer specs.
    """
    rows = distinct(config.search_space.rows(), settings.family)  # (networks, 10)
    size = (settings.family, settings.resolution, settings.channels)
    macs = costs(rows, *size).macs(config.search.count)  # (size,)
    same = (networks(rows, settings.family) == networks(np.array([baseline.row]), settings.family)).all(axis=1)
    others = np.flatnonzero((macs <= config.search.budget) & ~same)
    if len(others) < count - 1:
        space = config.search.space.name
        raise UserError(f"--specs {count}: the budget admits only {len(others) + 1} networks of the space {space}")
    strata = np.array_split(others[np.argsort(macs[others], kind="stable")], count - 1)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation([rng.choice(stratum) for stratum in strata])
    return (baseline, *(UNetSpec.from_row(rows[index]) for index in chosen))
