"""Cheaper ways to score: fewer images, fewer sampling steps, measured on weights that a rank study has trained.

Each is compared with the study's own score of the same weights, whose order it has to keep; on a proxy it is also
compared with the standard strategy by how well it agrees with the truth, its training and its score both counted.
"""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from sqlite_utils import Database

from agent.study.arms import Arm, Study
from agent.study.columns import Column, Columns, column, without_waiting
from agent.study.differences import Truth, agreement, compared
from diffusion.settings import Protocol
from diffusion.statistics.ranking import FEWEST
from memory.queries.records import show_trial
from memory.searches import find_protocol

ENOUGH_TAU, ENOUGH_LOW = 0.9, 0.75  # what a cheaper score has to keep: Kendall's tau-b, and its interval's lower end


def cheaper_scores(db: Database, study: Study, arm: Arm, columns: Columns, truth: Truth) -> list[dict[str, Any]]:
    """Other score protocols of the last weights of an arm, against the study's own on the same weights."""
    own = columns[arm.name, arm.score_steps[-1]]
    found = []
    for protocol in _other_protocols(db, arm, own):
        cells = column(db, study, arm, arm.score_steps[-1], protocol)
        row = _cheaper(arm, protocol, own, cells)
        against = None if arm.is_truth else _against_standard(study, columns, truth, row, cells)
        found.append(row | {"against_standard": against})
    return found


def _against_standard(
    study: Study, columns: Columns, truth: Truth, row: dict[str, Any], cells: Column
) -> dict[str, Any]:
    """A proxy with a cheaper score against the standard strategy with the study's own."""
    standard = study.proxies[-1]
    a = {"arm": row["arm"], "step": study.arm(row["arm"]).score_steps[-1], "changes": row["changes"]}
    b = {"arm": standard.name, "step": standard.score_steps[-1]}
    return compared(a, b, cells, columns[standard.name, standard.score_steps[-1]], truth)


def _other_protocols(db: Database, arm: Arm, own: Column) -> list[Protocol]:
    """The protocols that differ from the arm's in the score alone and that at least five specs were scored under."""
    counts: dict[str, int] = {}
    for cell in own:
        if cell.state == "scored" and cell.trial:
            for fingerprint in {row["protocol"] for row in show_trial(db, cell.trial)["scores"]}:
                counts[fingerprint] = counts.get(fingerprint, 0) + 1
    known = [find_protocol(db, fingerprint) for fingerprint, count in counts.items() if count >= FEWEST]
    return [found for found in known if found.score != arm.protocol.score and found.strategy == arm.strategy]


def _cheaper(arm: Arm, protocol: Protocol, own: Column, cells: Column) -> dict[str, Any]:
    cheap, full = without_waiting([cell.value for cell in own], cells)
    old, new = (found.score.model_dump(mode="json") for found in (arm.protocol, protocol))
    seconds, full_seconds = (_seconds_a_score(found) for found in (cells, own))
    found = agreement(cheap, full)
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


def cheapest(found: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
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
