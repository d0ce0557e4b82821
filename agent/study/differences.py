"""Two ways to rank the specs of a study, paired: how far apart they are, and what the interval allows to say."""

from collections.abc import Sequence
from typing import Annotated, Any, get_args

from pydantic import PlainSerializer

from agent.report.results import Result
from agent.study.columns import Column, ready_in, seconds_of, without_waiting
from diffusion.statistics.ranking import FEWEST, Estimate, Statistic, correlations, difference
from diffusion.statistics.ranking_power import Needed, plan

STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
POWER = 0.8

Truth = Sequence[float | None]  # (N,)
Interval = Annotated[Estimate, PlainSerializer(Estimate._asdict)]  # JSON has its names


class Correlations(Result):
    """Of each statistic an estimate; None where there is none."""

    spearman: Interval | None
    kendall: Interval | None
    pearson: Interval | None


class Agreement(Correlations):
    """How a proxy agrees with the truth, and whom that counts."""

    ranked: int
    failed: int
    without_truth: int


class Side(Result):
    """What is compared: an arm at a step, and what was changed of its score where something was."""

    arm: str
    step: int
    changes: dict[str, Any] | None = None


class Sides(Result):
    """Which two are compared."""

    a: Side
    b: Side


class Difference(Correlations, Sides):
    """How much better `a` ranks than `b`, and how many specs would tell them apart."""

    needed_n: dict[Statistic, Annotated[Needed, PlainSerializer(Needed._asdict)]]
    device_seconds_ratio: float | None
    conclusion: str


def agreement(proxy: Sequence[float | None], full: Sequence[float | None]) -> Agreement:
    """The three correlations with intervals, and whom they count; none where too few specs are ready."""
    without = list(full).count(None)
    if len(full) - without < FEWEST:
        return Agreement(
            spearman=None, kendall=None, pearson=None, ranked=len(full) - without, failed=0, without_truth=without
        )
    found = correlations(proxy, full)
    estimates = {name: getattr(found, name) for name in STATISTICS}
    return Agreement(**estimates, ranked=found.ranked, failed=found.excluded, without_truth=found.without_truth)


def compared(a: Side, b: Side, one: Column, other: Column, truth: Truth) -> Difference:
    """How much better one column ranks than another, for specs that wait in neither; `a` and `b` say what they are."""
    first, second, full = without_waiting(truth, one, other)
    gaps: dict[Statistic, Estimate | None] = {}
    needed: dict[Statistic, Needed] = {}
    for name in STATISTICS:
        try:
            gaps[name] = difference(first, second, full, name)
            needed[name] = plan(first, second, full, statistic=name, power=POWER)
        except ValueError as error:
            gaps[name], needed[name] = None, Needed(None, str(error))
    ready = ready_in(one, other)
    seconds = [sum(seconds_of(cells[index]) for index in ready) for cells in (one, other)]
    ratio = seconds[0] / seconds[1] if seconds[1] else None
    conclusion = _conclusion(a, b, gaps["kendall"], ratio)
    return Difference(a=a, b=b, **gaps, needed_n=needed, device_seconds_ratio=ratio, conclusion=conclusion)


def _conclusion(a: Side, b: Side, gap: Estimate | None, ratio: float | None) -> str:
    """What the interval of the difference allows to say, and no more."""
    who = f"{_named(a)} and {_named(b)}"
    if gap is None:
        return f"{who}: no difference can be computed"
    numbers = f"difference of tau-b {gap.value:+.3f}, {gap.low:+.3f} to {gap.high:+.3f}"
    if ratio is not None:
        numbers += f", at {ratio:.2f} of the device-seconds"
    if gap.low > 0:
        return f"{who}: the first ranks better ({numbers})"
    if gap.high < 0:
        return f"{who}: the first ranks worse ({numbers})"
    return f"{who}: this study does not tell them apart ({numbers})"


def pairs(changes: dict[str, Any]) -> str:
    """Changes as they are typed."""
    return ", ".join(f"{name}={value}" for name, value in changes.items())


def _named(side: Side) -> str:
    scored = f" scored with {pairs(side.changes)}" if side.changes else ""
    return f"{side.arm} at step {side.step}{scored}"
