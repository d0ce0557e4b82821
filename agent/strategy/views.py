"""How a search for a training strategy is told: its lines, its table, the best of it, and how to use that."""

from typing import Any

from rich.console import Console
from sqlite_utils import Database

from agent.report.results import Result, plain
from agent.report.tables import ledger_line, print_settings, print_table, say
from agent.search.plan import Plan
from agent.search.summary import who_proposes
from agent.strategy.plan import StrategyEstimate
from diffusion.settings import Strategy
from diffusion.units import printable
from memory.ledger import Ledger, totals
from memory.strategies import Measured, StoredStrategy, refusals, strategies_of
from tools.gates.strategies import StrategyLimits, shown
from tools.propose_strategy import values_of


def best_strategy(known: list[StoredStrategy], cost_limit: float) -> StoredStrategy | None:
    """The strategy within the limit that was seen to rank best; of equal ones the cheaper. None if none was measured.

    The standard strategy is among them only where the limit allows it.
    """
    taus = {row.id: row.measured.tau for row in known if row.measured and row.cost <= cost_limit + 1e-9}
    found = [(-tau, row.cost, row.id, row) for row in known if (tau := taus.get(row.id)) is not None]
    return min(found)[3] if found else None


class StrategyRow(Result):
    """A strategy; `tau`, `ci95` and what they took are null until it is measured."""

    strategy: int
    round: int
    proposer: str
    reason: str | None
    values: dict[str, float | int]
    cost: float
    tau: float | None
    ci95: tuple[float, float] | None
    specs: int | None
    device_seconds: float | None
    error: str | None
    use: str


class StrategyFinished(Result):
    """The event ``strategy.finished``."""

    reason: str
    """`rounds`, `space_exhausted`, `backend` or `interrupted`"""
    cost_limit: float
    """the limit as a share of the standard strategy's cost"""
    strategies: list[StrategyRow]
    """every strategy with its values, cost and accuracy, the standard one first"""
    best: int | None
    """id of the one within the limit that was seen to rank best, or `null`"""
    not_told_apart: list[int]
    """ids of those whose interval reaches into that of the best"""
    use: str | None
    """the options of `run` that use the best"""
    refused: int
    """how many proposals were refused"""
    ledger: Ledger
    """what it took"""


def strategy_summary(db: Database, search: int, limits: StrategyLimits, reason: str) -> StrategyFinished:
    """Every strategy with its cost and accuracy, and the best within the limit."""
    known = strategies_of(db, search)
    best = best_strategy(known, limits.cost_limit)
    return StrategyFinished(
        reason=reason,
        cost_limit=limits.cost_limit,
        strategies=[row_of(row) for row in known],
        best=None if best is None else best.id,
        not_told_apart=[] if best is None else [row.id for row in known if overlaps(best, row)],
        use=None if best is None else use_line(best.strategy),
        refused=refusals(db, search),
        ledger=totals(db, search),
    )


def row_of(known: StoredStrategy) -> StrategyRow:
    """A strategy as its result."""
    measured = known.measured
    low, high = (measured.low, measured.high) if measured else (None, None)
    return StrategyRow(
        strategy=known.id,
        round=known.round,
        proposer=known.proposer,
        reason=known.reason,
        values=values_of(known.strategy),
        cost=round(known.cost, 4),
        tau=measured.tau if measured else None,
        ci95=None if low is None or high is None else (low, high),
        specs=measured.n if measured else None,
        device_seconds=measured.device_seconds if measured else None,
        error=known.error,
        use=use_line(known.strategy),
    )


def overlaps(best: StoredStrategy, other: StoredStrategy) -> bool:
    """Whether the interval of another measured strategy reaches into that of the best."""
    one, two = best.measured, other.measured
    if other.id == best.id or one is None or two is None or one.low is None or two.high is None:
        return False
    return two.high >= one.low


def use_line(strategy: Strategy) -> str:
    """What makes ``run`` and ``train`` use a strategy."""
    return " ".join(f"--set {name}={shown(value)}" for name, value in values_of(strategy).items())


def pairs(values: dict[str, Any], separator: str = " ") -> str:
    """Values as options take them: ``learning_rate=0.002,dropout=0``."""
    return separator.join(f"{name}={shown(value)}" for name, value in values.items())


def changed(values: dict[str, Any], standard: dict[str, Any]) -> dict[str, Any]:
    """The values that are not the standard strategy's."""
    return {name: value for name, value in values.items() if value != standard[name]}


def announce(console: Console, planned: Plan, limits: StrategyLimits, *, is_measured: bool) -> None:
    """Who proposes, under which limit, and whether anything is measured."""
    config = planned.config
    say(console, who_proposes(config, "a local search proposes"))
    say(console, f"Standard strategy: {pairs(values_of(limits.standard))}.")
    say(
        console,
        f"At most {limits.cost_limit:.3g} of its cost: {limits.allowed_images:,} images for each training. "
        f"{config.search.rounds} proposal(s), {'each measured' if is_measured else 'not measured'}.",
    )


def print_strategies(console: Console, found: StrategyFinished) -> None:
    """The table of strategies, the best within the limit, and how to use it."""
    standard = found.strategies[0].values
    print_table(
        console,
        ("strategy", "values", "cost", "accuracy", "seconds each", "proposed by"),
        [
            (
                row.strategy,
                pairs(row.values if row.round == 0 else changed(row.values, standard)),
                f"{row.cost:.3g}",
                row.error or ("not measured" if row.specs is None else measured_of(plain(row))),
                f"{row.device_seconds / row.specs:.3g}" if row.specs and row.device_seconds is not None else "–",
                row.proposer,
            )
            for row in found.strategies
        ],
        right="strategy,cost,seconds each",
    )
    _print_best(console, found)
    say(console, f"{found.refused} proposals refused. Used: {ledger_line(found.ledger)}.")


def _print_best(console: Console, found: StrategyFinished) -> None:
    within = f"within {found.cost_limit:.3g} of the standard strategy's cost"
    if found.best is None:
        proposed = [row for row in found.strategies if row.round > 0]
        say(console, f"No strategy {within} was measured, so how well they rank is not known.")
        if proposed:
            last, standard = proposed[-1], found.strategies[0].values
            say(console, f"To use strategy {last.strategy} all the same, add to `diffnas-agent run`:")
            say(console, f"  {last.use}", whole=True)
            say(console, "To measure it, add to `diffnas-agent rank-study`:")
            say(console, f"  --rapid {pairs(last.values, ',')} --standard {pairs(standard, ',')}", whole=True)
        return
    say(console, f"Best {within}: strategy {found.best}. Add to `diffnas-agent run`:")
    say(console, f"  {found.use}", whole=True)
    if near := found.not_told_apart:
        say(console, f"Its interval reaches those of {', '.join(map(str, near))}: they are not told apart by this.")
    tried = [row for row in found.strategies if row.round > 0 and row.specs]
    if len(tried) > 1:
        say(
            console,
            f"Note: the best of {len(tried)} on one truth flatters itself; `diffnas-agent rank-study` with another "
            "--seed measures it anew.",
        )


def print_estimate(console: Console, found: StrategyEstimate) -> None:
    """The settings, then what bounds a proposal."""
    print_settings(console, found.settings)
    bounds = [(name, shown(low), shown(high)) for name, (low, high) in found.bounds.items()]
    print_table(console, ("\nstrategy", "from", "to"), bounds, right="from,to")
    say(
        console,
        f"\n{found.rounds} proposal(s) of at most {found.cost_limit:.3g} of the standard strategy's cost, "
        f"{found.images_at_most:,} images for each training. Nothing was written.",
    )
    if found.note:
        say(console, f"Note: {found.note}.")


class StrategyLines:
    """Lines for people about strategies; everything else is told by `agent.report.progress.Lines`."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, event: str, **values: Any) -> None:
        """Say one event."""
        if event == "strategy.proposed":
            text = pairs(values["values"])
            self._line(f"  strategy {values['strategy']}  {text}  cost {values['cost']:.3g}  by {values['proposer']}")
            self._line(f"  {values['reason']}")
        elif event == "strategy.refused":
            self._line(f"  refused {values['reason']}")
        elif event == "strategy.measured":
            self._line(f"  strategy {values['strategy']}: {values['error'] or measured_of(values)}")

    def _line(self, text: str) -> None:
        say(self.console, printable(text))


def measured_of(values: dict[str, Any]) -> Measured:
    """The measurement in an event or a row."""
    low, high = values["ci95"] or (None, None)
    return Measured(values["tau"], low, high, values["device_seconds"], values["specs"])
