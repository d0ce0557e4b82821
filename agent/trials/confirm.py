"""``diffnas-agent confirm``: the best specs of a search and its baseline, trained in full with several seeds.

It is a search of its own, so that it resumes and nothing finished is repeated: round 0 is the baseline, the next rounds
are the specs that were picked. Every training seed is one that the picking never saw, so all scores may be claimed on.
What is recommended is the best spec that is better than the baseline beyond noise, corrected for how many were
confirmed; otherwise the baseline.
"""

import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlite_utils import Database

from agent.config.backend import WITHOUT_MODEL
from agent.config.kinds import CONFIRM, FORKED
from agent.config.strategies import default_strategy, parse_strategy
from agent.estimate.reference import ReferenceUse, print_reference, reference_use
from agent.report.console import people, put_json
from agent.report.results import Result, Whole, plain
from agent.report.tables import how_scored, print_card, say, show
from agent.search.plan import Plan, open_search, plan, reopened
from agent.search.session import Session, driving
from agent.study.arms import TRUTH_FACTOR
from agent.trials.confirmed import confirmed, print_confirmed
from diffusion.errors import UserError, command
from diffusion.settings import Protocol, Strategy
from diffusion.spec import UNetSpec
from memory.connection import check_existing_memory, database_path, opened
from memory.queries.records import best
from memory.searches import SearchRow, find_protocol, find_search
from memory.trials import find_trial, trial_in_round
from tools.jobs.replicate import replicate_all
from tools.jobs.scoring import score_trial
from tools.jobs.training import train_as_asked

FIRST_SEED = 1_000_000  # further than any search's own seeds: what picked a spec is not what confirms it
REASON = "Picked for a training in full."


@dataclass(frozen=True)
class Asked:
    """What is confirmed, and how."""

    specs: tuple[UNetSpec, ...]  # without the baseline, best first
    baseline: UNetSpec
    seeds: int


@dataclass(frozen=True)
class Picking:
    """What is asked for: trials of a search, or its best, how often, and how they are trained."""

    search: str | None
    trials: tuple[int, ...]
    top: int
    seeds: int
    strategy: str | None


class ConfirmPlan(Result):
    """``confirm --dry-run --json``: what would be trained."""

    baseline: str
    specs: list[str]
    seeds: int
    trainings: int
    strategy: Whole[Strategy]
    protocol: str
    reference: ReferenceUse | None
    """the features of the real images, as in `run --dry-run`"""


def confirm_trials(db_path: Path, wanted: Picking, changes: dict[str, Any], *, dry_run: bool, as_json: bool) -> int:
    """Confirm what is picked, with `changes` of its search's settings, or show what that would train; the exit code.

    Raises:
        UserError: one sentence with the remedy.
    """
    if not dry_run:
        check_existing_memory(db_path)  # an older one is brought up to date
    with opened(db_path, read_only=True) as memory:
        source = find_search(memory, wanted.search, FORKED)
        protocol = find_protocol(memory, source.protocol)
        asked = picked(memory, source, wanted.trials, wanted.top, wanted.seeds)
    full = full_strategy(protocol)
    strategy = parse_strategy(wanted.strategy, full, "--strategy") if wanted.strategy else full
    named = {"name": f"{source.name}-confirm", "db": db_path, **changes}
    if dry_run:
        out = reopened(source.config_json, protocol, named).config.places.out
        with tempfile.TemporaryDirectory() as folder:
            planned = planned_confirm(source, protocol, asked, strategy, named | {"out": Path(folder)})
            reference = reference_use(planned, out)
        found = ConfirmPlan(
            baseline=str(asked.baseline),
            specs=[str(spec) for spec in asked.specs],
            seeds=wanted.seeds,
            trainings=(1 + len(asked.specs)) * wanted.seeds,
            strategy=strategy,
            protocol=planned.protocol.fingerprint,
            reference=reference,
        )
        show(found, as_json, print_plan)
        return 0
    planned = planned_confirm(source, protocol, asked, strategy, named)
    with opened(db_path) as memory:
        number = open_confirm(memory, planned, asked.specs)
    return drive_confirm(number, planned, as_json=as_json)


def picked(db: Database, source: SearchRow, trials: Sequence[int], top: int, seeds: int) -> Asked:
    """The trials that were named, or the best of a search.

    Raises:
        UserError: no scored baseline, nothing to confirm, or a trial of another search.
    """
    ranking = best(db, source.id, limit=None)
    baseline = next((row["spec"] for row in ranking if row["round"] == 0), None)
    if baseline is None:
        again = command("resume", source.name, db=Path(database_path(db)))
        raise UserError(f"'{source.name}' has no scored baseline yet; `{again}` goes on")
    for trial in trials:
        if find_trial(db, trial).search != source.id:
            raise UserError(f"'{trial}' is not a trial of {source.name}; name its own search with --search")
    chosen = [str(find_trial(db, trial).spec) for trial in trials] or [row["spec"] for row in ranking]
    specs = list(dict.fromkeys(spec for spec in chosen if spec != baseline))
    if not specs:
        raise UserError(f"'{source.name}' has nothing but its baseline; there is nothing to confirm")
    kept = specs if trials else specs[:top]
    return Asked(tuple(UNetSpec.parse(spec) for spec in kept), UNetSpec.parse(baseline), seeds)


def full_strategy(protocol: Protocol) -> Strategy:
    """The standard strategy of the data, twice as long as it or the search trains, whichever is longer."""
    standard = parse_strategy(default_strategy(protocol.settings.dataset, "standard"), protocol.strategy, "--strategy")
    steps = TRUTH_FACTOR * max(standard.train_steps, protocol.strategy.train_steps)
    return standard.model_copy(update={"train_steps": steps})


def print_plan(console: Console, found: ConfirmPlan) -> None:
    """What would be trained."""
    strategy = found.strategy
    say(console, f"Would confirm {', '.join(found.specs)} beside the baseline {found.baseline}.")
    say(
        console,
        f"{found.trainings} trainings, {found.seeds} seeds each, of {strategy.train_steps:,} steps of "
        f"{strategy.batch_size} images at {strategy.learning_rate:g}, dropout {strategy.dropout:g}, "
        f"{strategy.diffusion_steps:,} diffusion steps; protocol {found.protocol}. Nothing was written.",
    )
    print_reference(console, found.reference)


def planned_confirm(
    source: SearchRow, protocol: Protocol, asked: Asked, strategy: Strategy, changes: dict[str, Any]
) -> Plan:
    """The search that confirms: the source's settings with another strategy and `changes` of settings.

    Raises:
        UserError: one sentence with the remedy.
    """
    config = reopened(source.config_json, protocol, changes).config
    update = {
        **strategy.model_dump(),
        "searcher": CONFIRM.proposer,
        **WITHOUT_MODEL,
        "rounds": len(asked.specs),
        "seed": config.search.seed + FIRST_SEED,
        "baseline": asked.baseline,
        "replicas": asked.seeds,
        "race_trainings": 0,
        "prune": False,
    }
    return plan(config.changed(**update), kind=CONFIRM)


def open_confirm(db: Database, planned: Plan, specs: Sequence[UNetSpec]) -> int:
    """Write it into memory, with what is to be confirmed; its number."""
    told = {"specs": [str(spec) for spec in specs], "train": "full"}
    return open_search(db, planned, CONFIRM, told=told)


def drive_confirm(search: int, planned: Plan, *, as_json: bool) -> int:
    """Train and score all that is left, side by side, and say what came of it; the exit code."""
    with opened(planned.config.places.db, read_only=True) as db:
        specs = [UNetSpec.parse(text) for text in json.loads(find_search(db, search).config_json)["specs"]]
    with driving(search, planned, as_json=as_json, backend=CONFIRM.proposer, several=True) as session:
        print_card(session.console, planned.card)
        say(session.console, f"Scores: {how_scored(planned.protocol)}. Lower is better.")
        session.begin(CONFIRM.proposer)
        reason = session.play(CONFIRM.proposer, lambda: _train_all(session, (planned.baseline, *specs)))
        found = confirmed(session.db, search)
    if code := session.leave(reason):
        return code
    if as_json:
        put_json(plain(found))
    else:
        print_confirmed(people(), found)
    return 0


def _train_all(session: Session, specs: Sequence[UNetSpec]) -> str:
    """Every spec with its first seed, as a trial of its own, and then with the further ones; why it ended."""
    share = session.side_by_side(specs)

    def first(number: int) -> None:
        context = session.make_context(number, CONFIRM.proposer).sharing(share)
        trained = train_as_asked(context, specs[number], REASON)
        if trained.status != "failed":
            score_trial(context, trained.trial)

    with ThreadPoolExecutor(share.parallel, CONFIRM.proposer) as pool:
        for job in [pool.submit(first, number) for number in range(len(specs))]:
            job.result()
    found = [trial_in_round(session.db, session.search, number) for number in range(len(specs))]
    asked = session.plan.config.search
    seeds = range(asked.seed + 1, asked.seed + asked.replicas)
    further = [(trial, seed) for seed in seeds for trial in found if trial is not None]
    beside = session.side_by_side([trial.spec for trial, _ in further])
    replicate_all(session.make_context(0, CONFIRM.proposer), further, beside)
    return "confirmed"
