"""What other commands found, for the page of a search: a study, a confirmation, students, strategies.

A search of a kind of its own shows its own result; a `run` shows those of the memory that were taken on the same data.
What is not over yet says so in the sentence that its command would say.
"""

import json
from collections.abc import Callable, Iterator

from sqlite_utils import Database

from agent.compress.plan import stored_compression
from agent.compress.report import Compressed, Network, compressed
from agent.page.data import Figure, Finding, Table
from agent.report.tables import score
from agent.strategy.plan import COST, parse_cost
from agent.strategy.views import best_strategy
from agent.study.report import MeasuredStudy, ProxyRow, measured_study
from agent.study.store import stored_study
from agent.trials.confirmed import ConfirmedSpec, confirmed
from diffusion.errors import UserError
from diffusion.statistics.ranking import Estimate
from diffusion.units import format_size
from memory.searches import SearchRow, list_searches
from memory.strategies import StoredStrategy, strategies_of
from tools.propose_strategy import values_of

MOST_OF_A_KIND = 3  # the latest ones of the same data
NONE = "–"


def findings_of(db: Database, search: SearchRow) -> list[Finding]:
    """Its own result where it has a shape of its own, else those of others on its data."""
    if search.kind in MAKERS:
        return _made(db, [search])
    if search.kind == "run":
        return _made(db, _on_same_data(db, search))
    return []


def _on_same_data(db: Database, search: SearchRow) -> list[SearchRow]:
    """The latest confirmations, compressions and arms of studies whose data are those of a search."""
    same = {
        row[0]
        for row in db.conn.execute(
            "SELECT fingerprint FROM protocols WHERE json_extract(content_json, '$.data_fingerprint') = ("
            "SELECT json_extract(content_json, '$.data_fingerprint') FROM protocols WHERE fingerprint = ?)",
            [search.protocol],
        )
    }
    found: list[SearchRow] = []
    for kind in ("confirm", "compress", "study"):
        rows = [row for row in list_searches(db) if row.kind == kind and row.protocol in same]
        found += rows[: 1 if kind == "study" else MOST_OF_A_KIND]
    return found


def _made(db: Database, rows: list[SearchRow]) -> list[Finding]:
    return [MAKERS[row.kind](db, row) for row in rows]


def _study(db: Database, search: SearchRow) -> Finding:
    """How well cheap trainings rank, for the study of which a search is an arm."""
    name = str(json.loads(search.config_json)["study"])
    finding = Finding(anchor=f"study-{search.id}", title=f"Rank study {name}", says=[], figures=[], tables=[])
    try:
        found = measured_study(db, stored_study(db, name))
    except UserError as unfinished:
        return finding.model_copy(update={"says": [str(unfinished)]})
    says = [
        f"{found.specs} networks were trained cheaply and in full ({found.truth.strategy.train_steps:,} steps); "
        f"a cheap training is as good as its order agrees with that of the full ones.",
        *(f"{row.conclusion}." for row in found.differences),
    ]
    columns = ["cheap training", "step", "Kendall's τ", "Spearman's ρ", "networks", "device-seconds"]
    rows = [_proxy(row) for row in found.proxies]
    table = Table(caption="How well cheap trainings rank, with 95 % intervals", columns=columns, rows=rows)
    return finding.model_copy(update={"says": says, "figures": [_ranking(found)], "tables": [table]})


def _proxy(row: ProxyRow) -> list[str]:
    estimates = [_estimate(row.kendall), _estimate(row.spearman)]
    return [row.arm, f"{row.step:,}", *estimates, str(row.ranked), f"{row.device_seconds.total:,.0f}"]


def _estimate(found: Estimate | None) -> str:
    return NONE if found is None else f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def _ranking(found: MeasuredStudy) -> Figure:
    """The score of each network by each cheap training against its truth."""
    ends = [(row.arm, row.step) for row in found.proxies if row.is_end]
    data = [
        {"spec": each.spec, "arm": arm, "proxy": each.scores[arm].get(str(step)), "truth": each.truth}
        for each in found.members
        for arm, step in ends
    ]
    usable = [each for each in data if each["proxy"] is not None and each["truth"] is not None]
    says = f"A point for each of {len(usable)} scores by a cheap training, over the score of the full one."
    return Figure(draws="ranking", title="Cheap scores against full ones", says=says, data=usable)


def _compression(db: Database, search: SearchRow) -> Finding:
    """Teacher and student side by side."""
    found = compressed(db, search.id, stored_compression(db, search.id), search.state)
    title = f"Compression {found.name}: {found.method}, at most {found.target:.0%} of the teacher"
    networks = [(name, each) for name, each in (("teacher", found.teacher), ("student", found.student)) if each]
    columns = ["network", "MACs paper", "MACs total", "params", found.metric, "95 % interval", "scores"]
    table = Table(caption="Teacher and student", columns=columns, rows=[_network(*each) for each in networks])
    return Finding(
        anchor=f"compress-{search.id}",
        title=title,
        says=_compressed(found),
        figures=[_sizes(found)] if len(networks) > 1 else [],
        tables=[table] if networks else [],
    )


def _compressed(found: Compressed) -> list[str]:
    if found.student is None or found.macs_share is None or found.params_share is None:
        return ["There is no scored student yet."]
    size = f"{found.macs_share:.1%} of the multiply-accumulates and {found.params_share:.1%} of the parameters"
    says = [f"The student has {size} of its teacher; {found.verdict}: {found.why}."]
    if found.latency:
        says.append("{batch:.0f} images take {first_ms:.4g} ms the teacher, {second_ms:.4g} ms the student.".format(
            **found.latency))  # fmt: skip
    return says


def _network(name: str, found: Network) -> list[str]:
    sizes = [format_size(each) for each in (found.macs.paper, found.macs.total, found.params)]
    return [name, *sizes, score(found.score), found.between or NONE, str(len(found.scores))]


def _sizes(found: Compressed) -> Figure:
    data = [
        {
            "network": name, "paper": each.macs.paper, "total": each.macs.total, "score": each.score,
            "low": each.ci95 and each.ci95[0], "high": each.ci95 and each.ci95[1],
        }
        for name, each in (("teacher", found.teacher), ("student", found.student))
        if each and each.score is not None
    ]  # fmt: skip
    says = "Scores of teacher and student over their multiply-accumulates; the numbers are in the table below."
    return Figure(draws="sizes", title="Teacher and student", says=says, data=data)


def _confirmation(db: Database, search: SearchRow) -> Finding:
    """What full trainings with several seeds say."""
    found = confirmed(db, search.id)
    columns = ["network", found.metric, "95 % interval", "scores by seed", "verdict", "MACs paper", "params"]
    rows = [_confirmed(row) for row in found.rows]
    return Finding(
        anchor=f"confirm-{search.id}",
        title=f"Confirmation {found.name}: trained in full",
        says=[f"{found.why}." if found.why and not found.why.endswith(".") else found.why or "Nothing is scored yet."],
        figures=[],
        tables=[Table(caption="Full trainings", columns=columns, rows=rows)] if rows else [],
    )


def _confirmed(row: ConfirmedSpec) -> list[str]:
    interval = NONE if row.ci95 is None else f"{row.ci95[0]:.4g} to {row.ci95[1]:.4g}"
    verdict = "baseline" if row.is_baseline else row.verdict or NONE
    scores = ", ".join(map(score, row.scores))
    return [row.spec, score(row.score), interval, scores, verdict, format_size(row.macs.paper), format_size(row.params)]


def _strategies(db: Database, search: SearchRow) -> Finding:
    """The training strategies that a search proposed, and how well they rank."""
    known = strategies_of(db, search.id)
    best = best_strategy(known, _limit(search))
    measured = [each for each in known if each.measured]
    says = [f"{len(known)} strategies were proposed, {len(measured)} were measured."]
    if best is not None:
        says.append(f"The best within the cost limit is strategy {best.id}, with {best.measured}.")
    elif not measured:
        says.append("None was measured: how well they rank is not known. Measure them with --study.")
    columns = ["strategy", "proposer", "values", "cost of the standard's", "Kendall's τ", "why"]
    table = Table(caption="Training strategies", columns=columns, rows=[_strategy(each) for each in known])
    return Finding(
        anchor=f"strategy-{search.id}",
        title="Training strategies",
        says=says,
        figures=list(_accuracies(known)),
        tables=[table] if known else [],
    )


def _limit(search: SearchRow) -> float:
    """The most that a strategy may cost; one in seconds depends on the machine, and proposals were held to it."""
    value, is_seconds = parse_cost(str(json.loads(search.config_json).get(COST, "1")))
    return float("inf") if is_seconds else value


def _strategy(each: StoredStrategy) -> list[str]:
    values = ", ".join(f"{name} {value}" for name, value in values_of(each.strategy).items())
    told = each.error or (str(each.measured) if each.measured else NONE)
    return [str(each.id), each.proposer, values, f"{each.cost:.0%}", told, each.reason or NONE]


def _accuracies(known: list[StoredStrategy]) -> Iterator[Figure]:
    data = [
        {"strategy": each.id, "cost": each.cost, "tau": each.measured.tau, "low": each.measured.low,
         "high": each.measured.high}
        for each in known
        if each.measured and each.measured.tau is not None
    ]  # fmt: skip
    if data:
        says = f"Kendall's τ of {len(data)} strategies over their cost; the numbers are in the table below."
        yield Figure(draws="strategies", title="How well a strategy ranks, and what it costs", says=says, data=data)


MAKERS: dict[str, Callable[[Database, SearchRow], Finding]] = {
    "study": _study,
    "compress": _compression,
    "confirm": _confirmation,
    "strategy": _strategies,
}
