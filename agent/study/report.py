"""What a rank study says: how well each cheap strategy ranks, at what cost, and how sure that is.

Everything is read from memory and computed by `diffusion.statistics.ranking` and `diffusion.statistics.ranking_power`;
nothing is trained or scored. What failed, waits or has no truth is counted and named (`agent.study.columns`).
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from sqlite_utils import Database

from agent.config.strategies import strategy_presets
from agent.report.results import Result, Whole
from agent.study.arms import Arm, Study
from agent.study.cheaper_scores import CheaperScore, CheapestScore, cheaper_scores, cheapest
from agent.study.columns import Column, Columns, State, check_truth, column, seconds_of, truth_of, without_waiting
from agent.study.differences import STATISTICS, Agreement, Correlations, Difference, Side, Truth, agreement, compared
from agent.study.printed import TABLE_2
from diffusion.cost.closed_form import Macs, cost
from diffusion.settings import ScoreProtocol, Strategy
from diffusion.statistics.ranking import cost_per_point, regret, top_k_recall

TABLE_ROWS = {"standard": "paper-standard", "rapid": "paper-rapid"}


class Proxy(Result):
    """A cheap strategy at one of its steps."""

    arm: str
    step: int
    is_end: bool
    strategy: Whole[Strategy]
    seed: int
    protocol: str


class DeviceSeconds(Result):
    """What a column took."""

    train: float
    score: float
    total: float


class ProxyRow(Agreement, Proxy):
    """How a proxy ranks, what confirming the best by it would find, and what it takes."""

    top_k: int
    recall: float | None
    regret: float | None
    regret_top_k: float | None
    waiting: int
    device_seconds: DeviceSeconds
    device_seconds_per_point: float | None


class TruthFacts(Result):
    """What the truth rests on."""

    strategy: Whole[Strategy]
    seeds: list[int]
    protocol: str
    specs_with_truth: int
    agreement_of_two: Agreement
    device_seconds: float


class TableStrategy(Result):
    """A strategy of Table II, and what a spec takes with it."""

    strategy: str
    source: Literal["paper", "measured"]
    learning_rate: float
    dropout: float
    diffusion_steps: int
    train_steps: int
    device_seconds_a_spec: float | None


class PrintedCorrelations(Result):
    """What the paper prints of a row."""

    spearman: float
    kendall: float
    pearson: float


class TableRow(Correlations, TableStrategy):
    """A row of Table II: the paper's has `printed` figures, ours estimates."""

    printed: PrintedCorrelations | None


class Missing(Result):
    """A member that failed or waits, with the steps of the arm where it does."""

    arm: str
    spec: str
    trial: int | None
    why: str | None
    steps: list[int]


class Member(Result):
    """A spec with its costs and all its scores, by arm and by step as text."""

    spec: str
    macs: Macs
    params: int
    truth: float | None
    scores: dict[str, dict[str, float | None]]


class MeasuredStudy(Result):
    """``rank-study NAME --report --json``."""

    study: str
    """its name"""
    specs: int
    """how many specs it has"""
    metric: str
    """name of the score"""
    score: Whole[ScoreProtocol]
    """how scores are taken, as in a protocol"""
    data: str
    """fingerprint of the data"""
    dataset: str
    """the data set's word"""
    truth: TruthFacts
    """strategy and seeds of the full trainings, how many specs have one, `agreement_of_two` of them,
    `device_seconds`"""
    proxies: list[ProxyRow]
    """for each arm and step `spearman`, `kendall`, `pearson` (each `{"value", "low", "high"}` or `null`), `recall` and
    `regret` of the best `top_k`, `device_seconds`, `device_seconds_per_point`, and who was ranked, failed or waits"""
    differences: list[Difference]
    """the rapid strategy at each step against the standard one at its end: each statistic's difference with its
    interval, `needed_n`, `device_seconds_ratio`, and a `conclusion` in words"""
    cheaper_scores: list[CheaperScore]
    """other ways to score the same weights, with their correlation and what one score takes; of a proxy
    `against_standard`, as in `differences`"""
    cheapest_score: CheapestScore | None
    """`protocol` of the cheapest that keeps the ranking, or `null`, and `why`; `null` if none was tried"""
    table_2: list[TableRow]
    """the paper's Table II, `source` `paper`, with its figures as `printed`, then the study's two strategies at their
    ends, `source` `measured`, with `spearman`, `kendall`, `pearson` as above and `device_seconds_a_spec`"""
    failed: list[Missing]
    """failed members by name"""
    waiting: list[Missing]
    """members that are not there yet"""
    members: list[Member]
    """every spec with its costs, its truth and all its scores"""


def measured_study(db: Database, study: Study, top_k: int = 3) -> MeasuredStudy:
    """Everything that the study says.

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
    first = study.arms[0].protocol
    return MeasuredStudy(
        study=study.name,
        specs=len(study.specs),
        metric=first.score.metric,
        score=first.score,
        data=first.data_fingerprint,
        dataset=first.settings.dataset,
        truth=_truth_facts(study, truths, truth),
        proxies=rows,
        differences=_differences(study, columns, truth),
        cheaper_scores=alternatives,
        cheapest_score=cheapest(alternatives),
        table_2=table_2(study, rows),
        failed=_listed(study, columns, "failed"),
        waiting=_listed(study, columns, "waiting"),
        members=_members(study, columns, truth),
    )


def proxy_row(arm: Arm, step: int, cells: Column, truth: Truth, top_k: int = 3) -> ProxyRow:
    """How an arm ranks at a step, and what that takes."""
    proxy, full = without_waiting(truth, cells)
    agreed = agreement(proxy, full)
    train, score = (sum(getattr(cell, name) for cell in cells) for name in ("train_seconds", "score_seconds"))

    def of(measure: Callable[..., float], k: int) -> float | None:
        try:
            return measure(proxy, full, k)
        except ValueError:  # fewer specs than k, or a truth to which nothing is relative
            return None

    return ProxyRow(
        arm=arm.name,
        step=step,
        is_end=step == arm.score_steps[-1],
        strategy=arm.strategy,
        seed=arm.seed,
        protocol=arm.protocol_at(step).fingerprint,
        **dict(agreed),
        top_k=top_k,
        recall=of(top_k_recall, top_k),
        regret=of(regret, 1),
        regret_top_k=of(regret, top_k),
        waiting=sum(cell.state == "waiting" for cell in cells),
        device_seconds=DeviceSeconds(train=train, score=score, total=train + score),
        device_seconds_per_point=agreed.kendall and cost_per_point(train + score, agreed.kendall.value),
    )


def _truth_facts(study: Study, truths: Sequence[Column], truth: Truth) -> TruthFacts:
    """What the truth rests on. How well two full trainings agree is about the most that any proxy can reach."""
    arm = study.truths[0]
    first, second = without_waiting([0.0] * len(truth), truths[0], truths[1])[:2]
    return TruthFacts(
        strategy=arm.strategy,
        seeds=[arm.seed for arm in study.truths],
        protocol=arm.protocol.fingerprint,
        specs_with_truth=len(truth) - list(truth).count(None),
        agreement_of_two=agreement(first, second),
        device_seconds=sum(seconds_of(cell) for cells in truths for cell in cells),
    )


def _differences(study: Study, columns: Columns, truth: Truth) -> list[Difference]:
    """The rapid strategy at each of its steps against the standard one at its end, paired."""
    rapid, standard = study.proxies
    b = Side(arm=standard.name, step=standard.score_steps[-1])
    sides = [Side(arm=rapid.name, step=step) for step in rapid.score_steps]
    return [compared(a, b, columns[a.arm, a.step], columns[b.arm, b.step], truth) for a in sides]


def table_2(study: Study, rows: Sequence[ProxyRow]) -> list[TableRow]:
    """Table II of the paper as printed, then the study's two strategies at their ends."""
    fields = ("learning_rate", "dropout", "diffusion_steps")
    table = []
    for printed in TABLE_2:
        preset = strategy_presets()[TABLE_ROWS[printed.strategy]]
        theirs: dict[str, Any] = {name: preset[name] for name in fields}
        theirs |= dict.fromkeys(("device_seconds_a_spec", *STATISTICS))
        theirs["printed"] = PrintedCorrelations.model_validate({name: getattr(printed, name) for name in STATISTICS})
        table.append(TableRow(strategy=printed.strategy, source="paper", train_steps=printed.train_steps, **theirs))
    for arm in study.proxies[::-1]:
        row = next(row for row in rows if row.arm == arm.name and row.is_end)
        ours = {name: getattr(row.strategy, name) for name in (*fields, "train_steps")}
        trained = len(study.specs) - row.waiting
        ours["device_seconds_a_spec"] = row.device_seconds.total / trained if trained else None
        ours |= {name: getattr(row, name) for name in STATISTICS}
        table.append(TableRow(strategy=arm.name, source="measured", printed=None, **ours))
    return table


def _listed(study: Study, columns: Columns, state: State) -> list[Missing]:
    """Every failed or waiting member by name, with the steps of the arm where it is."""
    found: dict[tuple[str, int], Missing] = {}
    for (arm, step), cells in columns.items():
        for number, cell in enumerate(cells):
            if cell.state == state:
                new = Missing(arm=arm, spec=str(study.specs[number]), trial=cell.trial, why=cell.why, steps=[])
                found.setdefault((arm, number), new).steps.append(step)
    return list(found.values())


def _members(study: Study, columns: Columns, truth: Truth) -> list[Member]:
    """Every spec with its costs and all its scores."""
    settings = study.arms[0].protocol.settings
    found = []
    for number, spec in enumerate(study.specs):
        known = cost(spec, settings.family, settings.resolution, settings.channels)
        scores: dict[str, dict[str, float | None]] = {arm.name: {} for arm in study.arms}
        for (arm, step), cells in columns.items():
            scores[arm][str(step)] = cells[number].value
        found.append(Member(spec=str(spec), macs=known.macs, params=known.params, truth=truth[number], scores=scores))
    return found
