"""What is put beside a search by name: a comparison of searchers, or another search under the same protocol."""

import re

from sqlite_utils import Database

from agent.compare.plan import Comparison
from agent.compare.report import Compared, compared
from agent.compare.tables import percent
from agent.config.settings import SEARCHERS
from agent.config.stored import stored_config
from agent.page.data import Figure, Finding, Table
from agent.page.points import ranked, trials_of
from agent.report.tables import NONE, score, span
from agent.study.store import protocol_differences
from diffusion.errors import UserError
from diffusion.units import format_size
from memory.searches import SearchRow, find_protocol, find_search, list_searches

ENTRY = re.compile(rf"(?P<comparison>.+)-(?P<searcher>{'|'.join(map(re.escape, SEARCHERS))})-(?P<seed>\d+)")


def beside(db: Database, search: SearchRow, name: str) -> Finding:
    """The comparison or the search of a name.

    Raises:
        UserError: there is neither, the comparison is not far enough, or the scores do not compare.
    """
    if comparison := stored_comparison(db, name):
        return _of_comparison(compared(db, comparison))
    try:
        other = find_search(db, name)
    except UserError:
        raise UserError(
            f"--compare '{name}' is neither a comparison nor a search of this memory; `list` shows what there is"
        ) from None
    return _of_searches(db, search, other)


def own_comparison(db: Database, search: SearchRow) -> str | None:
    """The comparison that a search belongs to by its name, where others of it are there."""
    if (found := ENTRY.fullmatch(search.name)) is None:
        return None
    name = found["comparison"]
    known = stored_comparison(db, name)
    return name if known and len(known.searchers) * len(known.seeds) > 1 else None


def stored_comparison(db: Database, name: str) -> Comparison | None:
    """The comparison whose searches the memory holds; None where it has none of it."""
    entries = [(row, found) for row in list_searches(db) if (found := ENTRY.fullmatch(row.name))]
    own = [(row, found) for row, found in reversed(entries) if found["comparison"] == name and row.kind == "run"]
    if not own:
        return None
    searchers = tuple(dict.fromkeys(found["searcher"] for _, found in own))
    seeds = tuple(sorted({int(found["seed"]) for _, found in own}))
    return Comparison(name, searchers, seeds, stored_config(own[0][0].config_json))


def _of_comparison(found: Compared) -> Finding:
    marks = list(found.searchers[0].regret)
    judged = "means over the table's seeds" if found.is_noise_free else "the scores that the searches were shown"
    says = [
        f"{len(found.seeds)} seeds of each searcher, {found.rounds} evaluations after the baseline's. Regret, by "
        f"{judged}, is how much worse the best network tried is than the best of {found.networks}.",
        *_told_apart(found, marks[-1]),
    ]
    if found.waiting:
        says.append(f"{found.waiting} searches of it are not over.")
    rows = [
        [each.searcher, *(percent(each.regret[mark]) for mark in marks), percent(each.recommended)]
        for each in found.searchers
    ]
    if found.chance:
        rows.append(["chance (expected)", *(f"{found.chance[mark]:.1%}" for mark in marks), NONE])
    columns = ["searcher", *(f"regret after {mark}" for mark in marks), "recommends"]
    return Finding(
        anchor="comparison",
        title=f"Comparison {found.comparison}",
        says=says,
        figures=[_regret(found)],
        tables=[Table(caption="Regret, with 95 % intervals over seeds", columns=columns, rows=rows)],
    )


def _told_apart(found: Compared, mark: int) -> list[str]:
    apart = [
        f"{each.better} is better than {each.b if each.better == each.a else each.a} (p {each.p_corrected:.2g})"
        for each in found.pairs
        if each.evaluations == mark and each.better
    ]
    return [f"After {mark} evaluations: {'; '.join(apart)}." if apart else "No two searchers can be told apart."]


def _regret(found: Compared) -> Figure:
    data = [
        {"searcher": each.searcher, "at": at, "mean": mean, "low": low, "high": high}
        for each in found.searchers
        for at, mean, low, high in zip(
            each.by_evaluations.at, each.by_evaluations.mean, each.by_evaluations.low, each.by_evaluations.high,
            strict=True,
        )
    ]  # fmt: skip
    says = "The regret of each searcher over its evaluations, with 95 % intervals; its numbers are in the table below."
    return Figure(draws="regret", title="Regret over evaluations", says=says, data=data)


def _of_searches(db: Database, search: SearchRow, other: SearchRow) -> Finding:
    """Two searches side by side.

    Raises:
        UserError: their protocols differ.
    """
    if search.protocol != other.protocol:
        ours, theirs = (find_protocol(db, each.protocol) for each in (search, other))
        names = (search.name, other.name)
        what = next(protocol_differences(ours, theirs, *names), "their data differ")
        raise UserError(f"--compare '{other.name}': its scores do not compare with those of {search.name}: {what}")
    data, rows = [], []
    for row in (search, other):
        found = trials_of(db, row.id)
        top = next(iter(ranked(found)), None)
        sizes = [format_size(top.paper), format_size(top.total)] if top else []
        spec = [top.spec, score(top.score), span(top.low, top.high), *sizes] if top else [NONE] * 5
        rows.append([row.name, row.searcher, str(len(found)), *spec])
        least = float("inf")
        for each in found:
            if each.score is not None:
                least = min(least, each.score)
                data.append({"searcher": row.name, "at": each.round, "mean": least, "low": None, "high": None})
    columns = ["search", "who proposes", "trials", "best", "score", "95 % interval", "MACs paper", "MACs total"]
    figure = Figure(
        draws="regret",
        title="Best score so far",
        says="The best score so far of both searches over their rounds; where they ended stands in the table below.",
        data=data,
    )
    says = ["Both are under one protocol. Each best is the luckiest of many single scores: it proves no difference."]
    return Finding(
        anchor="beside",
        title=f"Beside {other.name}",
        says=says,
        figures=[figure] if data else [],
        tables=[Table(caption="Both searches", columns=columns, rows=rows)],
    )
