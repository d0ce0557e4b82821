"""Training strategies that a search proposed, what they cost and how well they rank."""

import json
from collections.abc import Iterator

from sqlite_utils import Database

from agent.page.data import Figure, Finding, Table
from agent.report.tables import NONE
from agent.strategy.plan import COST, parse_cost
from agent.strategy.views import best_strategy
from memory.searches import SearchRow
from memory.strategies import StoredStrategy, strategies_of
from tools.propose_strategy import values_of


def found_in(db: Database, search: SearchRow) -> Finding:
    """The training strategies that a search proposed, and how well they rank."""
    known = strategies_of(db, search.id)
    best = best_strategy(known, _limit(search))
    measured = [each for each in known if each.measured]
    says = [f"{len(known)} strategies were proposed, {len(measured)} were measured."]
    if best is not None:
        says.append(f"The best within the cost limit is strategy {best.id}, with {best.measured}.")
    elif not measured:
        says.append("None was measured: how well they rank is not known. Measure them with --study.")
    columns = ["strategy", "proposer", "values", "cost of the standard's", "Kendall's τ", "why"]
    table = Table(caption="Training strategies", columns=columns, rows=[_strategy(each) for each in known])
    return Finding(
        anchor=f"strategy-{search.id}",
        title="Training strategies",
        says=says,
        figures=list(_accuracies(known)),
        tables=[table] if known else [],
    )


def _limit(search: SearchRow) -> float:
    """The most that a strategy may cost; one in seconds depends on the machine, and proposals were held to it."""
    value, is_seconds = parse_cost(str(json.loads(search.config_json).get(COST, "1")))
    return float("inf") if is_seconds else value


def _strategy(each: StoredStrategy) -> list[str]:
    values = ", ".join(f"{name} {value}" for name, value in values_of(each.strategy).items())
    told = each.error or (str(each.measured) if each.measured else NONE)
    return [str(each.id), each.proposer, values, f"{each.cost:.0%}", told, each.reason or NONE]


def _accuracies(known: list[StoredStrategy]) -> Iterator[Figure]:
    data = [
        {"strategy": each.id, "cost": each.cost, "tau": each.measured.tau, "low": each.measured.low,
         "high": each.measured.high}
        for each in known
        if each.measured and each.measured.tau is not None
    ]  # fmt: skip
    if data:
        says = f"Kendall's τ of {len(data)} strategies over their cost; the numbers are in the table below."
        yield Figure(draws="strategies", title="How well a strategy ranks, and what it costs", says=says, data=data)
