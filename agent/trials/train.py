"""``diffnas-agent train``: one spec that a person asks for, trained as a search of its own with its own lease.

No model proposes, and neither space nor budget objects. What is done with the trial afterwards stands in
`agent.trials.evaluate`.
"""

from agent.config.backend import WITHOUT_MODEL
from agent.config.kinds import TRAIN
from agent.config.settings import RunConfig
from agent.report.tables import how_scored, print_card, say
from agent.search.plan import Plan, open_search, plan
from agent.search.session import driving
from diffusion.cost.closed_form import cost
from diffusion.errors import command
from diffusion.settings import Settings
from diffusion.spec import UNetSpec
from memory.connection import check_memory, opened
from memory.trials import trial_in_round
from tools.jobs.training import train_as_asked

REASON = "Asked for by hand."


def train_by_hand(config: RunConfig, text: str, *, as_json: bool) -> int:
    """Open the search of one training and drive it; the exit code.

    Raises:
        UserError: one sentence with the remedy.
    """
    spec = UNetSpec.parse(text)
    check_memory(config.places.db)  # said before any work
    planned = plan(config.changed(searcher=TRAIN.proposer, rounds=0, parallel=1, **WITHOUT_MODEL), spec, TRAIN)
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
    with driving(search, planned, as_json=as_json, backend=TRAIN.proposer) as session:
        print_card(session.console, planned.card)
        session.begin(TRAIN.proposer)
        context = session.make_context(0, TRAIN.proposer)
        reason = session.play("round 0", lambda: train_as_asked(context, planned.baseline, REASON).status)
        trial = trial_in_round(session.db, search, 0)
    code = session.leave(reason)
    if not code and trial is not None:
        say(session.console, f"Scores of this trial, by default: {how_scored(planned.protocol)}.")
        for words in (("evaluate", trial.id), ("sample", trial.id), ("export", trial.id, "DIR")):
            say(session.console, f"  {command(*words, db=planned.config.places.db)}", whole=True)
    return code
