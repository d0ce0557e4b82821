"""What a confirmation found: a table in the shape of the paper's Table I, and a recommendation."""

import math
from typing import Any

from rich.console import Console
from sqlite_utils import Database

from agent.report.results import Result
from agent.report.tables import print_table, say, score, span
from diffusion.cost.closed_form import Macs
from diffusion.spec import widths
from diffusion.statistics.noise import Verdict, interval, pooled_noise, verdict
from diffusion.units import format_size
from diffusion.verdicts import Answer
from memory.queries.records import best
from memory.replicas import replicas_of, seed_scores
from memory.searches import find_protocol, find_search
from tools.jobs.replicate import usable


class ConfirmedSpec(Result):
    """One spec of a confirmation."""

    trial: int
    spec: str
    widths: str
    is_baseline: bool
    score: float | None  # the geometric mean over its seeds
    scores: list[float | None]
    ci95: tuple[float, float] | None
    verdict: Answer | None
    why: str | None
    macs: Macs
    params: int
    device_hours: float


class Confirmed(Result):
    """``confirm --json``: a row for each spec, and the recommendation."""

    search: int
    """id of the search that it is"""
    name: str
    """its name"""
    protocol: str
    """fingerprint of the protocol"""
    metric: str
    """name of the score"""
    noise_cv: float | None
    """coefficient of variation over training seeds, pooled over the specs, or `null`"""
    rows: list[ConfirmedSpec]
    """for each spec `trial`, `spec`, `widths`, `is_baseline`, `score` (the geometric mean), `scores` by seed, `ci95`,
    `verdict` against the baseline with `why`, `macs`, `params`, `device_hours`; the best first"""
    recommended: str | None
    """the best spec that is better than the baseline, otherwise the baseline"""
    why: str
    """one sentence"""


def confirmed(db: Database, search: int) -> Confirmed:
    """What the trainings of a confirmation say."""
    row = find_search(db, str(search))
    ranking = {found["spec"]: found for found in best(db, search, limit=None)}
    scores = {spec: usable(found) for spec, found in seed_scores(db, search).items()}
    baseline = next((spec for spec, found in ranking.items() if found["round"] == 0), None)
    noise = pooled_noise(scores, baseline) if baseline else None
    against = scores.get(baseline or "", [])
    rows = []
    for spec, found in ranking.items():
        said = None if spec == baseline else verdict(noise, scores[spec], against, comparisons=max(len(ranking) - 1, 1))
        rows.append(_row(db, search, found, scores[spec], interval(noise, scores[spec]), said))
    rows.sort(key=lambda each: (each.score is None, each.score))
    better = [each for each in rows if each.verdict == "better"]
    return Confirmed(
        search=search,
        name=row.name,
        protocol=row.protocol,
        metric=find_protocol(db, row.protocol).score.metric,
        noise_cv=noise.cv if noise else None,
        rows=rows,
        recommended=better[0].spec if better else baseline,
        why=(better[0].why if better else None) or "nothing beat the baseline beyond noise",
    )


def _row(
    db: Database,
    search: int,
    found: dict[str, Any],
    scores: list[float | None],
    bounds: tuple[float, float] | None,
    said: Verdict | None,
) -> ConfirmedSpec:
    """One spec of the table: the geometric mean over its seeds, what it costs and what it took."""
    usable_scores = [score for score in scores if score is not None]
    mean = math.exp(math.fsum(map(math.log, usable_scores)) / len(usable_scores)) if usable_scores else None
    seconds = found["device_seconds"] + sum(
        each.device_seconds for each in replicas_of(db, search) if each.trial == found["trial"]
    )
    return ConfirmedSpec(
        trial=found["trial"],
        spec=found["spec"],
        widths=widths(found["spec"]),
        is_baseline=found["round"] == 0,
        score=mean,
        scores=scores,
        ci95=bounds,
        verdict=said.answer if said else None,
        why=said.why if said else None,
        macs=found["macs"],
        params=found["params"],
        device_hours=seconds / 3600,
    )


def print_confirmed(console: Console, found: Confirmed) -> None:
    """The table in the shape of the paper's Table I, and the recommendation."""
    rows = [
        (
            row.spec + (" (baseline)" if row.is_baseline else ""),
            row.widths,
            score(row.score),
            span(*row.ci95 or (None, None)),
            str(len(row.scores)),
            f"{format_size(row.macs.paper)}/{format_size(row.macs.total)}",
            format_size(row.params),
            f"{row.device_hours:.3f}",
            row.verdict or "",
        )
        for row in found.rows
    ]
    columns = ("spec", "widths", found.metric, "95 % interval", "seeds", "MACs paper/total", "params", "device-hours")
    print_table(console, (*columns, ""), rows, right=f"{found.metric},seeds,params,device-hours")
    say(console, f"Recommended: {found.recommended}: {found.why}.")
