"""What a rank study says: how well each cheap strategy ranks, at what cost, and how sure that is.

Everything is read from memory and computed by `diffusion.ranking` and `diffusion.ranking_power`; nothing is trained or
scored. Three things may stand where a score should be, and none is dropped silently: a *failed* trial or score, which
the rule of `diffusion.ranking` takes for the worst; one that is still *waiting*, whose spec is left out of the
statistics of that strategy and step; and a spec without at least two full trainings, which has no truth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Literal, get_args

from sqlite_utils import Database

from agent.dry_run import BACKWARD_FACTOR
from agent.strategies import strategy_presets
from agent.study import FEWEST_TRUTH_SEEDS, Arm, Study
from diffusion.cost import cost
from diffusion.errors import UserError
from diffusion.ranking import (
    FEWEST,
    Estimate,
    Statistic,
    correlations,
    cost_per_point,
    difference,
    regret,
    top_k_recall,
)
from diffusion.ranking_power import plan
from diffusion.settings import Protocol
from memory.queries import show_trial
from memory.searches import find_protocol
from memory.trials import score_of, trial_in_round

State = Literal["scored", "failed", "waiting"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
POWER = 0.8
ENOUGH_TAU, ENOUGH_LOW = 0.9, 0.75  # what a cheaper score has to keep: Kendall's tau-b, and its interval's lower end
TABLE_ROWS = {"standard": "paper-standard", "rapid": "paper-rapid"}


@dataclass(frozen=True)
class Cell:
    """One spec in one arm at one step."""

    state: State
    value: float | None = None
    trial: int | None = None
    why: str | None = None
    train_seconds: float = 0.0  # of the training's device-seconds, the share up to this step
    score_seconds: float = 0.0


Column = Sequence[Cell]  # (N,), in the order of the study's specs
Columns = Mapping[tuple[str, int], Column]  # by arm and step


def measured_study(db: Database, study: Study, top_k: int = 3) -> dict[str, Any]:
    """Everything that the study says, as JSON-ready values; ``rank-study NAME --report --json``.

    Raises:
        UserError: the full training of half of its specs or more is missing, or fewer than five have one.
    """
    columns = {(arm.name, step): column(db, study, arm, step) for arm in study.arms for step in arm.score_steps}
    truths = [columns[arm.name, arm.score_steps[-1]] for arm in study.truths]
    truth = truth_of(truths)
    _check_truth(study, truths, truth)
    rows = [
        proxy_row(arm, step, columns[arm.name, step], truth, top_k) for arm in study.proxies for step in arm.score_steps
    ]
    alternatives = [
        found for arm in (*study.proxies, study.truths[0]) for found in cheaper_scores(db, study, arm, columns)
    ]
    return {
        "study": study.name,
        "specs": len(study.specs),
        "metric": study.arms[0].protocol.score.metric,
        "score": study.arms[0].protocol.score.model_dump(mode="json"),
        "data": study.arms[0].protocol.data_fingerprint,
        "dataset": study.arms[0].protocol.settings.dataset,
        "truth": _truth_facts(study, truths, truth),
        "proxies": rows,
        "differences": _differences(study, columns, truth),
        "cheaper_scores": alternatives,
        "cheapest_score": _cheapest(alternatives),
        "table_2": table_2(study, rows),
        "failed": _listed(study, columns, "failed"),
        "waiting": _listed(study, columns, "waiting"),
        "members": _members(study, columns, truth),
    }


def column(db: Database, study: Study, arm: Arm, step: int, protocol: Protocol | None = None) -> list[Cell]:
    """The scores of an arm at a step, under its own protocol or another one of the same weights."""
    protocol = protocol or arm.protocol_at(step)
    return [_cell(db, arm, number, step, protocol) for number in range(len(study.specs))]


def _cell(db: Database, arm: Arm, number: int, step: int, protocol: Protocol) -> Cell:
    trial = trial_in_round(db, arm.search, number)
    if trial is None:
        return Cell("waiting")
    found = score_of(db, trial.training, protocol.fingerprint)
    if found is None:
        if trial.state == "failed":
            return Cell("failed", None, trial.id, trial.error, trial.device_seconds)
        return Cell("waiting", None, trial.id)
    share = trial.device_seconds * step / arm.strategy.train_steps
    spent = found.device_seconds / max(1, found.sampling_seeds)
    if found.value is None:
        return Cell("failed", None, trial.id, f"no finite score at step {step}", share, spent)
    return Cell("scored", found.value, trial.id, None, share, spent)


def truth_of(truths: Sequence[Column]) -> list[float | None]:
    """The mean score of the full trainings of each spec; None where fewer than two have one.  (N,)"""
    found: list[float | None] = []
    for cells in zip(*truths, strict=True):
        values = [cell.value for cell in cells if cell.value is not None]
        found.append(mean(values) if len(values) >= FEWEST_TRUTH_SEEDS else None)
    return found


def truth_in(db: Database, study: Study) -> list[float | None]:
    """The truth of each spec of a study in memory; None where it has none.  (N,)

    Raises:
        UserError: the full training of half of its specs or more is missing, or fewer than five have one.
    """
    truths = [column(db, study, arm, arm.score_steps[-1]) for arm in study.truths]
    truth = truth_of(truths)
    _check_truth(study, truths, truth)
    return truth


def _check_truth(study: Study, truths: Sequence[Column], truth: Sequence[float | None]) -> None:
    missing, count = truth.count(None), len(truth)
    waiting = sum(any(cell.state == "waiting" for cell in cells) for cells in zip(*truths, strict=True))
    if 2 * missing < count and count - missing >= FEWEST:
        return
    remedy = f"wait, or go on with `diffnas-agent rank-study {study.name} --resume`"
    if not waiting:
        remedy = "too many failed to say anything, so start a study of another name"
    raise UserError(f"'{study.name}' lacks the full training of {missing} of its {count} specs; {remedy}")


def proxy_row(arm: Arm, step: int, cells: Column, truth: Sequence[float | None], top_k: int = 3) -> dict[str, Any]:
    """How an arm ranks at a step, and what that takes."""
    proxy, full = _without_waiting(truth, cells)
    found: dict[str, Any] = {"arm": arm.name, "step": step, "is_end": step == arm.score_steps[-1]}
    found |= {"strategy": arm.strategy.model_dump(mode="json"), "seed": arm.seed}
    found |= {"protocol": arm.protocol_at(step).fingerprint}
    found |= _agreement(proxy, full) | _choice(proxy, full, top_k)
    train, score = (sum(getattr(cell, name) for cell in cells) for name in ("train_seconds", "score_seconds"))
    found["waiting"] = sum(cell.state == "waiting" for cell in cells)
    found["device_seconds"] = {"train": train, "score": score, "total": train + score}
    kendall = found["kendall"]
    found["device_seconds_per_point"] = kendall and cost_per_point(train + score, kendall["value"])
    return found


def _without_waiting(truth: Sequence[float | None], *columns: Column) -> tuple[list[float | None], ...]:
    """The scores of each column, and the truth, of the specs that wait in none of them."""
    ready = _ready(*columns)
    return (*([cells[index].value for index in ready] for cells in columns), [truth[index] for index in ready])


def _ready(*columns: Column) -> list[int]:
    """The specs that wait in none of the columns."""
    return [
        index for index, cells in enumerate(zip(*columns, strict=True)) if "waiting" not in {c.state for c in cells}
    ]


def _agreement(proxy: Sequence[float | None], full: Sequence[float | None]) -> dict[str, Any]:
    """The three correlations with intervals, and whom they count; none where too few specs are ready."""
    if len(full) - list(full).count(None) < FEWEST:
        counts = {"ranked": len(full) - list(full).count(None), "failed": 0, "without_truth": list(full).count(None)}
        return dict.fromkeys(STATISTICS) | counts
    found = correlations(proxy, full)
    counts = {"ranked": found.ranked, "failed": found.excluded, "without_truth": found.without_truth}
    return {name: _estimate(getattr(found, name)) for name in STATISTICS} | counts


def _estimate(found: Estimate | None) -> dict[str, float] | None:
    return None if found is None else found._asdict()


def _choice(proxy: Sequence[float | None], full: Sequence[float | None], top_k: int) -> dict[str, Any]:
    """What confirming the best by proxy would find."""

    def of(measure: Callable[..., float], k: int) -> float | None:
        try:
            return measure(proxy, full, k)
        except ValueError:  # fewer specs than k, or a truth to which nothing is relative
            return None

    return {
        "top_k": top_k,
        "recall": of(top_k_recall, top_k),
        "regret": of(regret, 1),
        "regret_top_k": of(regret, top_k),
    }


def _truth_facts(study: Study, truths: Sequence[Column], truth: Sequence[float | None]) -> dict[str, Any]:
    """What the truth rests on. How well two full trainings agree is about the most that any proxy can reach."""
    arm = study.truths[0]
    first, second = _without_waiting([0.0] * len(truth), truths[0], truths[1])[:2]
    return {
        "strategy": arm.strategy.model_dump(mode="json"),
        "seeds": [arm.seed for arm in study.truths],
        "protocol": arm.protocol.fingerprint,
        "specs_with_truth": len(truth) - list(truth).count(None),
        "agreement_of_two": _agreement(first, second),
        "device_seconds": sum(_seconds(cell) for cells in truths for cell in cells),
    }


def _differences(study: Study, columns: Columns, truth: Sequence[float | None]) -> list[dict[str, Any]]:
    """The rapid strategy at each of its steps against the standard one at its end, paired."""
    rapid, standard = study.proxies
    end = standard.score_steps[-1]
    return [_difference(columns, truth, (rapid.name, step), (standard.name, end)) for step in rapid.score_steps]


def _difference(
    columns: Columns, truth: Sequence[float | None], a: tuple[str, int], b: tuple[str, int]
) -> dict[str, Any]:
    one, other, full = _without_waiting(truth, columns[a], columns[b])
    found: dict[str, Any] = {"a": {"arm": a[0], "step": a[1]}, "b": {"arm": b[0], "step": b[1]}}
    needed: dict[str, Any] = {}
    for name in STATISTICS:
        try:
            found[name] = _estimate(difference(one, other, full, name))
            needed[name] = plan(one, other, full, statistic=name, power=POWER)._asdict()
        except ValueError as error:
            found[name], needed[name] = None, {"n": None, "why": str(error)}
    ready = _ready(columns[a], columns[b])
    seconds = [sum(_seconds(columns[key][index]) for index in ready) for key in (a, b)]
    found["needed_n"] = needed
    found["device_seconds_ratio"] = seconds[0] / seconds[1] if seconds[1] else None
    return found | {"conclusion": _conclusion(found)}


def _conclusion(found: dict[str, Any]) -> str:
    """What the interval of the difference allows to say, and no more."""
    a, b, gap = (found[name] for name in ("a", "b", "kendall"))
    who = f"{a['arm']} at step {a['step']} and {b['arm']} at step {b['step']}"
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


def cheaper_scores(db: Database, study: Study, arm: Arm, columns: Columns) -> list[dict[str, Any]]:
    """Other score protocols of the last weights of an arm, against the study's own on the same weights."""
    end = arm.score_steps[-1]
    own = columns[arm.name, end]
    return [_cheaper(db, study, arm, protocol, own) for protocol in _other_protocols(db, arm, own)]


def _other_protocols(db: Database, arm: Arm, own: Column) -> list[Protocol]:
    """The protocols that differ from the arm's in the score alone and that at least five specs were scored under."""
    counts: dict[str, int] = {}
    for cell in own:
        if cell.state == "scored" and cell.trial:
            for fingerprint in {row["protocol"] for row in show_trial(db, cell.trial)["scores"]}:
                counts[fingerprint] = counts.get(fingerprint, 0) + 1
    known = [find_protocol(db, fingerprint) for fingerprint, count in counts.items() if count >= FEWEST]
    return [found for found in known if found.score != arm.protocol.score and found.strategy == arm.strategy]


def _cheaper(db: Database, study: Study, arm: Arm, protocol: Protocol, own: Column) -> dict[str, Any]:
    cells = column(db, study, arm, arm.score_steps[-1], protocol)
    cheap, full = _without_waiting([cell.value for cell in own], cells)
    old, new = (found.score.model_dump(mode="json") for found in (arm.protocol, protocol))
    seconds, full_seconds = (_seconds_a_score(found) for found in (cells, own))
    found = _agreement(cheap, full)
    tau = found["kendall"]
    keeps = tau is not None and tau["value"] >= ENOUGH_TAU and tau["low"] > ENOUGH_LOW
    return {
        "arm": arm.name,
        "changes": {name: value for name, value in new.items() if old[name] != value},
        "protocol": protocol.fingerprint,
        **found,
        "waiting": sum(cell.state == "waiting" for cell in cells),
        "device_seconds_a_score": seconds,
        "full_device_seconds_a_score": full_seconds,
        "is_cheaper": seconds is not None and full_seconds is not None and seconds < full_seconds,
        "keeps_the_ranking": keeps,
    }


def _seconds_a_score(cells: Column) -> float | None:
    spent = [cell.score_seconds for cell in cells if cell.state == "scored"]
    return mean(spent) if spent else None


def _cheapest(found: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The cheapest score protocol that keeps the ranking; None if nobody tried another one."""
    if not found:
        return None
    limits = f"tau-b of at least {ENOUGH_TAU} with the interval above {ENOUGH_LOW}"
    able = [row for row in found if row["keeps_the_ranking"] and row["is_cheaper"]]
    if not able:
        return {"protocol": None, "why": f"none of {len(found)} cheaper scores keeps a {limits}"}
    best = min(able, key=lambda row: float(row["device_seconds_a_score"]))
    changes = ", ".join(f"{name}={value}" for name, value in best["changes"].items())
    return {"protocol": best["protocol"], "why": f"{changes} on {best['arm']} is the cheapest with a {limits}"}


def table_2(study: Study, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Table II of the paper: its two strategies, whose figures were not at hand, and the study's two at their ends."""
    table = []
    for arm in study.proxies[::-1]:
        fields = ("learning_rate", "dropout", "diffusion_steps")
        row = next(row for row in rows if row["arm"] == arm.name and row["is_end"])
        preset = strategy_presets()[TABLE_ROWS[arm.name]]
        nothing = dict.fromkeys(("train_steps", "device_seconds_a_spec", *STATISTICS))
        table.append({"strategy": arm.name, "source": "paper", **{name: preset[name] for name in fields}, **nothing})
        ours = {name: row["strategy"][name] for name in (*fields, "train_steps")}
        trained = len(study.specs) - row["waiting"]
        ours["device_seconds_a_spec"] = row["device_seconds"]["total"] / trained if trained else None
        ours |= {name: row[name] for name in STATISTICS}
        table.append({"strategy": arm.name, "source": "measured", **ours})
    return sorted(table, key=lambda row: row["source"] != "paper")


def _seconds(cell: Cell) -> float:
    return cell.train_seconds + cell.score_seconds


def _listed(study: Study, columns: Columns, state: State) -> list[dict[str, Any]]:
    """Every failed or waiting member by name, with the steps of the arm where it is."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for (arm, step), cells in columns.items():
        for number, cell in enumerate(cells):
            if cell.state == state:
                new = {"arm": arm, "spec": str(study.specs[number]), "trial": cell.trial, "why": cell.why}
                found.setdefault((arm, number), {**new, "steps": []})["steps"].append(step)
    return list(found.values())


def _members(study: Study, columns: Columns, truth: Sequence[float | None]) -> list[dict[str, Any]]:
    """Every spec with its costs and all its scores, those of a step under the step as text."""
    settings = study.arms[0].protocol.settings
    found = []
    for number, spec in enumerate(study.specs):
        known = cost(spec, settings.family, settings.resolution, settings.channels)
        scores: dict[str, dict[str, float | None]] = {arm.name: {} for arm in study.arms}
        for (arm, step), cells in columns.items():
            scores[arm][str(step)] = cells[number].value
        macs = known.macs.model_dump()
        found.append(
            {"spec": str(spec), "macs": macs, "params": known.params, "truth": truth[number], "scores": scores}
        )
    return found


def planned_costs(study: Study) -> dict[str, Any]:
    """What a study would compute, as JSON-ready values; ``rank-study --dry-run --json`` beside the settings."""
    rows = [
        {
            "arm": arm.name,
            "strategy": arm.strategy.model_dump(mode="json"),
            "seed": arm.seed,
            "score_steps": list(arm.score_steps),
            "protocol": arm.protocol.fingerprint,
            "trainings": len(study.specs),
            "macs": _macs(study, arm),
        }
        for arm in study.arms
    ]
    return {
        "study": study.name,
        "specs": [str(spec) for spec in study.specs],
        "metric": study.arms[0].protocol.score.metric,
        "arms": rows,
        "macs": sum(_macs(study, arm) for arm in study.arms),
    }


def _macs(study: Study, arm: Arm) -> int:
    """The multiply-accumulates of an arm's trainings and scores."""
    settings, score = arm.protocol.settings, arm.protocol.score
    size = (settings.family, settings.resolution, settings.channels)
    each = sum(cost(spec, *size).macs.by(arm.planned.config.count) for spec in study.specs)
    trained = BACKWARD_FACTOR * arm.strategy.train_steps * arm.strategy.batch_size
    return each * (trained + len(arm.score_steps) * score.num_images * score.sampling_steps)
