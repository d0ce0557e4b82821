"""Drives one search from the command line: wires memory, executor, backend and reports, and ends tidily on Ctrl-C.

Exit codes as in CONTRACT.md: 0 done, 2 the backend refuses every call, 3 stopped by a limit, 130 interrupted.
"""

from collections.abc import Callable

from agent.backends.errors import BackendError
from agent.backends.registry import Address
from agent.config.settings import RunConfig
from agent.report.events import Report
from agent.report.tables import say
from agent.search.directives import lift_pauses
from agent.search.ending import LIMITS
from agent.search.loop import Loop
from agent.search.plan import Plan, jobs_of
from agent.search.session import BY_LIMIT, INTERRUPTED, driving
from agent.search.summary import announce, summary, why_spent
from agent.searchers.llm import make_proposer
from diffusion.errors import UserError
from memory.connection import opened
from memory.searches import set_state
from tools.context import SearchContext
from tools.executors.machine import Share, this_machine


def drive(search: int, planned: Plan, *, as_json: bool) -> int:
    """Play the rounds, print the summary; the exit code."""
    config = planned.config
    with driving(search, planned, as_json=as_json, backend=config.backend.llm, takes_lines=True) as seat:
        console, report, go_on = seat.console, seat.report, seat.go_on
        announce(console, seat.name, planned, seat.jobs)
        with opened(config.places.db) as db:
            for pause in lift_pauses(db, search):
                say(console, f"Lifted: {pause.name}.")
        report("search.started", name=seat.name, settings=config.as_json(), proposer=config.backend.llm)
        loop = make_loop(search, seat.lease, planned, seat.make_context, report, seat.jobs)
        try:
            reason = loop.run()
        except BackendError as error:
            raise refused(search, config, loop.proposer_name, error, go_on) from error
    summary(console, config.places.db, search)
    if reason in ("interrupted", *LIMITS):
        why = {
            "failures": "stopped: too many trials failed in a row",
            "backend": "stopped: the backend does not answer",
            "allowance": f"stopped by the allowance: {why_spent(seat)}",
        }
        say(console, f"{why.get(reason, 'interrupted')}; go on with: {go_on}", whole=True)
        return BY_LIMIT if reason in LIMITS else INTERRUPTED
    return 0


def refused(search: int, config: RunConfig, llm: str, error: BackendError, go_on: str) -> UserError:
    """What to tell the user of a backend that refuses every call; the search is interrupted by it."""
    with opened(config.places.db) as db:
        set_state(db, search, "interrupted", str(error))
    return UserError(f"'{llm}' refuses every call ({error}); check the key and the model's name, then `{go_on}`")


def make_loop(
    search: int,
    lease: str,
    planned: Plan,
    make_context: Callable[[int, str], SearchContext],
    report: Report,
    jobs: Share | None = None,
) -> Loop:
    """The one place that wires a search: its backend, its proposer, its rounds; `jobs` as in `context_maker`."""
    config = planned.config
    return Loop(
        search=search,
        lease=lease,
        rounds=config.search.rounds,
        baseline=planned.baseline,
        proposer=make_proposer(config),
        make_proposer=lambda llm, base_url: make_proposer(config, Address(llm, base_url)),
        proposer_name=config.backend.llm,
        make_context=make_context,
        report=report,
        parallel=(jobs or jobs_of(config, this_machine())).parallel,
        replicas=config.search.replicas,
        race_trainings=config.search.rounds if config.search.race_trainings is None else config.search.race_trainings,
    )
