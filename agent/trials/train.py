"""``diffnas-agent train``: one spec that a person asks for, trained as a search of its own with its own lease.

No model proposes, and neither space nor budget objects. What is done with the trial afterwards stands in
`agent.trials.evaluate`.
"""

import time

from agent.config.kinds import TRAIN
from agent.config.settings import RunConfig
from agent.report.tables import how_scored, print_card, say
from agent.search.plan import Plan, open_search, plan
from agent.search.session import INTERRUPTED, Seat, driving
from diffusion.cost.closed_form import cost
from diffusion.settings import Settings
from diffusion.spec import UNetSpec
from memory.connection import check_memory, opened
from memory.ledger import charge
from memory.searches import set_state
from tools.errors import Interrupted
from tools.jobs.training import TrainResult, train_as_asked

REASON = "Asked for by hand."
FAILED = 1


def train_by_hand(config: RunConfig, spec: UNetSpec, *, as_json: bool) -> int:
    """Open the search of one training and drive it; the exit code.

    Raises:
        UserError: one sentence with the remedy.
    """
    check_memory(config.places.db)  # said before any work
    planned = plan(config.changed(searcher=TRAIN.proposer, llm="offline", rounds=0, parallel=1), spec)
    settings = planned.protocol.settings
    planned = _limited_to(planned, settings, spec)
    with opened(config.places.db) as db:
        search = open_search(db, planned, TRAIN)
    return drive_training(search, planned, as_json=as_json)


def _limited_to(planned: Plan, settings: Settings, spec: UNetSpec) -> Plan:
    """The plan whose budget is what the spec costs."""
    macs = cost(spec, settings.family, settings.resolution, settings.channels).macs.by(planned.config.search.count)
    config = planned.config.changed(budget=macs, baseline=spec)
    return Plan(config, planned.protocol, spec, planned.card, planned.notes)


def drive_training(search: int, planned: Plan, *, as_json: bool) -> int:
    """Train to the end, or to where it is stopped; the exit code."""
    with driving(search, planned, as_json=as_json, backend=TRAIN.proposer) as seat:
        print_card(seat.console, planned.card)
        seat.report("search.started", name=seat.name, settings=planned.config.as_json(), proposer=TRAIN.proposer)
        started = time.monotonic()
        try:
            done = train_as_asked(seat.make_context(0, TRAIN.proposer), planned.baseline, REASON)
        except Interrupted:
            return _interrupted(seat, planned, search)
        finally:
            with opened(planned.config.places.db) as db:
                charge(db, search, "wall", wall_seconds=time.monotonic() - started, note="round 0")
        with opened(planned.config.places.db) as db:
            set_state(db, search, "failed" if done.status == "failed" else "finished", done.status)
    return _told(seat, planned, done)


def _interrupted(seat: Seat, planned: Plan, search: int) -> int:
    with opened(planned.config.places.db) as db:
        set_state(db, search, "interrupted", "interrupted")
    say(seat.console, f"interrupted; go on with: {seat.go_on}", whole=True)
    return INTERRUPTED


def _told(seat: Seat, planned: Plan, done: TrainResult) -> int:
    """What became of it, and what can be done next."""
    if done.status == "failed":
        return FAILED
    say(seat.console, f"Scores of this trial, by default: {how_scored(planned.protocol)}.")
    for command in (f"evaluate {done.trial}", f"sample {done.trial}", f"export {done.trial} DIR"):
        say(seat.console, f"  diffnas-agent {command}", whole=True)
    return 0
