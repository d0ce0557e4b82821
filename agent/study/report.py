"""What a rank study says: how well each cheap strategy ranks, at what cost, and how sure that is.

Everything is read from memory and computed by `diffusion.statistics.ranking` and `diffusion.statistics.ranking_power`;
nothing is trained or scored. What failed, waits or has no truth is counted and named (`agent.study.columns`).
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlite_utils import Database

from agent.config.strategies import strategy_presets
from agent.study.arms import Arm, Study
from agent.study.cheaper_scores import cheaper_scores, cheapest
from agent.study.columns import Column, Columns, State, check_truth, column, seconds_of, truth_of, without_waiting
from agent.study.differences import STATISTICS, Truth, agreement, compared
from diffusion.cost.closed_form import BACKWARD_FACTOR, cost
from diffusion.statistics.ranking import cost_per_point, regret, top_k_recall

TABLE_ROWS = {"standard": "paper-standard", "rapid": "paper-rapid"}


def measured_study(db: Database, study: Study, top_k: int = 3) -> dict[str, Any]:
    """Everything that the study says, as JSON-ready values; ``rank-study NAME --report --json``.

    Raises:
        UserError: the full training of half of its specs or more is missing, or fewer than five have one.
    """
    columns = {(arm.name, step): column(db, study, arm, step) for arm in study.arms for step in arm.score_steps}
    truths = [columns[arm.name, arm.score_steps[-1]] for arm in study.truths]
    truth = truth_of(truths)
    check_truth(study, truths, truth)
    rows = [
        proxy_row(arm, step, columns[arm.name, step], truth, top_k) for arm in study.proxies for step in arm.score_steps
    ]
    alternatives = [
        found for arm in (*study.proxies, study.truths[0]) for found in cheaper_scores(db, study, arm, columns, truth)
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
        "cheapest_score": cheapest(alternatives),
        "table_2": table_2(study, rows),
        "failed": _listed(study, columns, "failed"),
        "waiting": _listed(study, columns, "waiting"),
        "members": _members(study, columns, truth),
    }


def proxy_row(arm: Arm, step: int, cells: Column, truth: Truth, top_k: int = 3) -> dict[str, Any]:
    """How an arm ranks at a step, and what that takes."""
    proxy, full = without_waiting(truth, cells)
    found: dict[str, Any] = {"arm": arm.name, "step": step, "is_end": step == arm.score_steps[-1]}
    found |= {"strategy": arm.strategy.model_dump(mode="json"), "seed": arm.seed}
    found |= {"protocol": arm.protocol_at(step).fingerprint}
    found |= agreement(proxy, full) | _choice(proxy, full, top_k)
    train, score = (sum(getattr(cell, name) for cell in cells) for name in ("train_seconds", "score_seconds"))
    found["waiting"] = sum(cell.state == "waiting" for cell in cells)
    found["device_seconds"] = {"train": train, "score": score, "total": train + score}
    kendall = found["kendall"]
    found["device_seconds_per_point"] = kendall and cost_per_point(train + score, kendall["value"])
    return found


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


def _truth_facts(study: Study, truths: Sequence[Column], truth: Truth) -> dict[str, Any]:
    """What the truth rests on. How well two full trainings agree is about the most that any proxy can reach."""
    arm = study.truths[0]
    first, second = without_waiting([0.0] * len(truth), truths[0], truths[1])[:2]
    return {
        "strategy": arm.strategy.model_dump(mode="json"),
        "seeds": [arm.seed for arm in study.truths],
        "protocol": arm.protocol.fingerprint,
        "specs_with_truth": len(truth) - list(truth).count(None),
        "agreement_of_two": agreement(first, second),
        "device_seconds": sum(seconds_of(cell) for cells in truths for cell in cells),
    }


def _differences(study: Study, columns: Columns, truth: Truth) -> list[dict[str, Any]]:
    """The rapid strategy at each of its steps against the standard one at its end, paired."""
    rapid, standard = study.proxies
    b = standard.name, standard.score_steps[-1]
    sides = [(rapid.name, step) for step in rapid.score_steps]
    return [compared(_side(a), _side(b), columns[a], columns[b], truth) for a in sides]


def _side(key: tuple[str, int]) -> dict[str, Any]:
    return {"arm": key[0], "step": key[1]}


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


def _listed(study: Study, columns: Columns, state: State) -> list[dict[str, Any]]:
    """Every failed or waiting member by name, with the steps of the arm where it is."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for (arm, step), cells in columns.items():
        for number, cell in enumerate(cells):
            if cell.state == state:
                new = {"arm": arm, "spec": str(study.specs[number]), "trial": cell.trial, "why": cell.why}
                found.setdefault((arm, number), {**new, "steps": []})["steps"].append(step)
    return list(found.values())


def _members(study: Study, columns: Columns, truth: Truth) -> list[dict[str, Any]]:
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
    each = sum(cost(spec, *size).macs.by(arm.planned.config.search.count) for spec in study.specs)
    trained = BACKWARD_FACTOR * arm.strategy.train_steps * arm.strategy.batch_size
    return each * (trained + len(arm.score_steps) * score.num_images * score.sampling_steps)
