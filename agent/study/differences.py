"""Two ways to rank the specs of a study, paired: how far apart they are, and what the interval allows to say."""

from collections.abc import Sequence
from typing import Any, get_args

from agent.study.columns import Column, ready_in, seconds_of, without_waiting
from diffusion.statistics.ranking import FEWEST, Estimate, Statistic, correlations, difference
from diffusion.statistics.ranking_power import plan

STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
POWER = 0.8

Truth = Sequence[float | None]  # (N,)


def agreement(proxy: Sequence[float | None], full: Sequence[float | None]) -> dict[str, Any]:
    """The three correlations with intervals, and whom they count; none where too few specs are ready."""
    if len(full) - list(full).count(None) < FEWEST:
        counts = {"ranked": len(full) - list(full).count(None), "failed": 0, "without_truth": list(full).count(None)}
        return dict.fromkeys(STATISTICS) | counts
    found = correlations(proxy, full)
    counts = {"ranked": found.ranked, "failed": found.excluded, "without_truth": found.without_truth}
    return {name: estimate(getattr(found, name)) for name in STATISTICS} | counts


def estimate(found: Estimate | None) -> dict[str, float] | None:
    """An estimate as JSON."""
    return None if found is None else found._asdict()


def compared(a: dict[str, Any], b: dict[str, Any], one: Column, other: Column, truth: Truth) -> dict[str, Any]:
    """How much better one column ranks than another, for specs that wait in neither; `a` and `b` say what they are."""
    first, second, full = without_waiting(truth, one, other)
    found: dict[str, Any] = {"a": a, "b": b}
    needed: dict[str, Any] = {}
    for name in STATISTICS:
        try:
            found[name] = estimate(difference(first, second, full, name))
            needed[name] = plan(first, second, full, statistic=name, power=POWER)._asdict()
        except ValueError as error:
            found[name], needed[name] = None, {"n": None, "why": str(error)}
    ready = ready_in(one, other)
    seconds = [sum(seconds_of(cells[index]) for index in ready) for cells in (one, other)]
    found["needed_n"] = needed
    found["device_seconds_ratio"] = seconds[0] / seconds[1] if seconds[1] else None
    return found | {"conclusion": _conclusion(found)}


def _conclusion(found: dict[str, Any]) -> str:
    """What the interval of the difference allows to say, and no more."""
    a, b, gap = (found[name] for name in ("a", "b", "kendall"))
    who = f"{_named(a)} and {_named(b)}"
    if gap is None:
        return f"{who}: no difference can be computed"
    numbers = f"difference of tau-b {gap['value']:+.3f}, {gap['low']:+.3f} to {gap['high']:+.3f}"
    if found["device_seconds_ratio"] is not None:
        numbers += f", at {found['device_seconds_ratio']:.2f} of the device-seconds"
    if gap["low"] > 0:
        return f"{who}: the first ranks better ({numbers})"
    if gap["high"] < 0:
        return f"{who}: the first ranks worse ({numbers})"
    return f"{who}: this study does not tell them apart ({numbers})"


def _named(side: dict[str, Any]) -> str:
    changes = ", ".join(f"{name}={value}" for name, value in side.get("changes", {}).items())
    return f"{side['arm']} at step {side['step']}" + (f" scored with {changes}" if changes else "")
