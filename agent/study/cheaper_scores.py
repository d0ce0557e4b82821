"""Cheaper ways to score: fewer images, fewer sampling steps, measured on weights that a rank study has trained.

Each is compared with the study's own score of the same weights, whose order it has to keep; on a proxy it is also
compared with the standard strategy by how well it agrees with the truth, its training and its score both counted.
"""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from sqlite_utils import Database

from agent.report.results import Result
from agent.study.arms import Arm, Study
from agent.study.columns import Column, Columns, column, without_waiting
from agent.study.differences import Agreement, Difference, Side, Truth, agreement, compared, pairs
from diffusion.settings import Protocol
from diffusion.statistics.ranking import FEWEST
from memory.queries.records import show_trial
from memory.searches import find_protocol

ENOUGH_TAU, ENOUGH_LOW = 0.9, 0.75  # what a cheaper score has to keep: Kendall's tau-b, and its interval's lower end


class Rescored(Result):
    """Weights of an arm scored in another way."""

    arm: str
    changes: dict[str, Any]
    protocol: str


class CheaperScore(Agreement, Rescored):
    """How another way to score ranks the same weights, and what one score takes."""

    waiting: int
    device_seconds_a_score: float | None
    full_device_seconds_a_score: float | None
    is_cheaper: bool
    keeps_the_ranking: bool
    against_standard: Difference | None  # of a proxy


class CheapestScore(Result):
    """The cheapest way to score that keeps the ranking, if one does."""

    protocol: str | None
    why: str


def cheaper_scores(db: Database, study: Study, arm: Arm, columns: Columns, truth: Truth) -> list[CheaperScore]:
    """Other score protocols of the last weights of an arm, against the study's own on the same weights."""
    step = arm.score_steps[-1]
    return [
        _cheaper(study, arm, protocol, columns, truth, column(db, study, arm, step, protocol))
        for protocol in _other_protocols(db, arm, columns[arm.name, step])
    ]


def _changes(arm: Arm, protocol: Protocol) -> dict[str, Any]:
    """What a protocol changes of an arm's score."""
    old, new = (found.score.model_dump(mode="json") for found in (arm.protocol, protocol))
    return {name: value for name, value in new.items() if old[name] != value}


def _against_standard(study: Study, columns: Columns, truth: Truth, a: Side, cells: Column) -> Difference:
    """A proxy with a cheaper score against the standard strategy with the study's own."""
    standard = study.proxies[-1]
    end = standard.score_steps[-1]
    return compared(a, Side(arm=standard.name, step=end), cells, columns[standard.name, end], truth)


def _other_protocols(db: Database, arm: Arm, own: Column) -> list[Protocol]:
    """The protocols that differ from the arm's in the score alone and that at least five specs were scored under."""
    counts: dict[str, int] = {}
    for cell in own:
        if cell.state == "scored" and cell.trial:
            for fingerprint in dict.fromkeys(row["protocol"] for row in show_trial(db, cell.trial)["scores"]):
                counts[fingerprint] = counts.get(fingerprint, 0) + 1
    known = [find_protocol(db, fingerprint) for fingerprint, count in counts.items() if count >= FEWEST]
    return [found for found in known if found.score != arm.protocol.score and found.strategy == arm.strategy]


def _cheaper(study: Study, arm: Arm, protocol: Protocol, columns: Columns, truth: Truth, cells: Column) -> CheaperScore:
    step = arm.score_steps[-1]
    own, changes = columns[arm.name, step], _changes(arm, protocol)
    a = Side(arm=arm.name, step=step, changes=changes)
    cheap, full = without_waiting([cell.value for cell in own], cells)
    seconds, full_seconds = (_seconds_a_score(found) for found in (cells, own))
    found = agreement(cheap, full)
    tau = found.kendall
    return CheaperScore(
        arm=arm.name,
        changes=changes,
        protocol=protocol.fingerprint,
        **dict(found),
        waiting=sum(cell.state == "waiting" for cell in cells),
        device_seconds_a_score=seconds,
        full_device_seconds_a_score=full_seconds,
        is_cheaper=seconds is not None and full_seconds is not None and seconds < full_seconds,
        keeps_the_ranking=tau is not None and tau.value >= ENOUGH_TAU and tau.low > ENOUGH_LOW,
        against_standard=None if arm.is_truth else _against_standard(study, columns, truth, a, cells),
    )


def _seconds_a_score(cells: Column) -> float | None:
    spent = [cell.score_seconds for cell in cells if cell.state == "scored"]
    return mean(spent) if spent else None


def cheapest(found: Sequence[CheaperScore]) -> CheapestScore | None:
    """The cheapest score protocol that keeps the ranking; None if nobody tried another one."""
    if not found:
        return None
    limits = f"tau-b of at least {ENOUGH_TAU} with the interval above {ENOUGH_LOW}"
    able = [row for row in found if row.keeps_the_ranking and row.is_cheaper]
    if not able:
        return CheapestScore(protocol=None, why=f"none of {len(found)} cheaper scores keeps a {limits}")
    best = min(able, key=lambda row: row.device_seconds_a_score or 0.0)
    why = f"{pairs(best.changes)} on {best.arm} is the cheapest with a {limits}"
    return CheapestScore(protocol=best.protocol, why=why)
