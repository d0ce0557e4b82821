"""What each parameter of a network seems to do to the score, with 95 % intervals.

Scores are compared by their ratios, so means are geometric and intervals are Student's, of logarithms. A mean by value
is over trials that differ in much else, which the searcher chose: it describes these trials. A pair differs in the one
parameter alone, and of two values each trial is in one pair, so the ratios of pairs are independent of each other.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlite_utils import Database

from agent.page.data import Effect, Mean, Point, Step
from agent.page.points import ranked
from diffusion.spec import UNetSpec
from diffusion.statistics.noise import critical_value
from memory.queries.effect import NETWORK, effect

FEWEST = 3  # values of which an interval is told

LABELS = {"num_blocks": "residual blocks a stage"}


def effects_of(db: Database, search: int, trials: Iterable[Point]) -> list[Effect]:
    """Of every parameter that the scored trials have at two values or more."""
    scores = {each.trial: math.log(each.score) for each in ranked(trials) if each.score and each.score > 0}
    specs = {each.trial: UNetSpec.parse(each.spec) for each in trials if each.trial in scores}
    found = []
    for name in NETWORK:
        values: dict[int, list[float]] = defaultdict(list)
        for trial, spec in specs.items():
            if (value := value_of(spec, name)) is not None:
                values[value].append(scores[trial])
        if len(values) > 1:
            means = [_mean(value, values[value]) for value in sorted(values)]
            steps = _steps(effect(db, search, name), scores)
            found.append(Effect(parameter=name, label=label(name), means=means, steps=steps))
    return found


def value_of(spec: UNetSpec, name: str) -> int | None:
    """A parameter of a network; None where it has no such stage."""
    kind, _, stage = name.rpartition("_")
    if kind == "width":
        return spec.channels[int(stage)] if int(stage) < spec.stages else None
    return spec.numbers.get(name)


def label(name: str) -> str:
    """A parameter in words."""
    kind, _, stage = name.rpartition("_")
    words = {"width": "channels at stage", "attn": "attention at stage"}
    return LABELS.get(name) or f"{words[kind]} {stage}"


def _steps(rows: Sequence[Mapping[str, object]], scores: Mapping[int, float]) -> list[Step]:
    found = []
    for row in rows:
        pairs = [pair["trials"] for pair in row.get("pairs", ())]  # type: ignore[attr-defined]
        logs = [scores[after] - scores[before] for before, after in pairs if before in scores and after in scores]
        if logs:
            mean, low, high = _interval(logs)
            values = {"before": row["from"], "after": row["to"], "pairs": len(logs)}
            found.append(Step.model_validate({**values, "ratio": mean, "low": low, "high": high}))
    return found


def _mean(value: int, logs: Sequence[float]) -> Mean:
    mean, low, high = _interval(logs)
    return Mean(value=value, trials=len(logs), mean=mean, low=low, high=high)


def _interval(logs: Sequence[float]) -> tuple[float, float | None, float | None]:
    """The geometric mean and its interval; none of fewer than three."""
    count, mean = len(logs), math.fsum(logs) / len(logs)
    if count < FEWEST:
        return math.exp(mean), None, None
    spread = math.sqrt(math.fsum((each - mean) ** 2 for each in logs) / (count - 1))
    reach = critical_value(0.05, count - 1) * spread / math.sqrt(count)
    return math.exp(mean), math.exp(mean - reach), math.exp(mean + reach)
