"""``diffnas-agent run``: one search, wired and played in a session, with what is said before and after it."""

from agent.backends.registry import Address
from agent.report.tables import say
from agent.search.directives import lift_pauses
from agent.search.loop import Loop
from agent.search.plan import Plan
from agent.search.session import Session, driving
from agent.search.summary import announce, summary
from agent.searchers.registry import make_proposer


def drive(search: int, planned: Plan, *, as_json: bool) -> int:
    """Play the rounds, print the summary; the exit code."""
    config = planned.config
    with driving(search, planned, as_json=as_json, backend=config.backend.llm, takes_lines=True) as session:
        announce(session.console, session.name, planned, session.jobs)
        for pause in lift_pauses(session.db, search):
            say(session.console, f"Lifted: {pause.name}.")
        session.begin(config.backend.llm)
        reason = make_loop(session).run()
    summary(session.console, config.places.db, search)
    return session.leave(reason)


def make_loop(session: Session) -> Loop:
    """The one place that wires a search: its session, its searcher, and what makes another one."""
    config, make = session.plan.config, session.plan.proposer or make_proposer
    return Loop(session, make(config, None), lambda llm, base_url: make(config, Address(llm, base_url)))
