"""A rank study: how well cheap trainings order networks as full ones do."""

import json

from sqlite_utils import Database

from agent.page.data import Figure, Finding, Table
from agent.report.tables import NONE
from agent.study.report import MeasuredStudy, ProxyRow, measured_study
from agent.study.store import stored_study
from diffusion.errors import UserError
from diffusion.statistics.ranking import Estimate
from memory.searches import SearchRow


def found_in(db: Database, search: SearchRow) -> Finding:
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
