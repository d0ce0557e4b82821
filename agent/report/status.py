"""What the reading commands show: results for scripts, and how they look to people."""

from pathlib import Path
from typing import Any, Literal, Self

from rich.console import Console
from sqlite_utils import Database

from agent.report.results import Result, ShortTrial
from agent.report.tables import ledger_line, print_table, say, score
from diffusion.errors import command
from diffusion.units import format_size
from memory.directives import DirectiveRow, active_directives
from memory.ledger import Ledger, totals
from memory.queries.progress import replicas_under_way, rounds_over, search_counts, strategy_counts, under_way
from memory.queries.records import baseline, best
from memory.searches import CountConvention, Kind, SearchRow, State, find_search, list_searches

SHOWN_CHARACTERS = 60


class Directive(Result):
    """A directive as scripts read it; what it says is in its kind and arguments."""

    id: int
    kind: str
    arguments: dict[str, Any]
    says: str
    text: str
    author: str
    state: str
    created: str
    seen_round: int | None

    @classmethod
    def of(cls, row: DirectiveRow) -> Self:
        """One of the memory."""
        from tools.gates.directive_kinds import directive_of  # numpy comes along: where there is one

        rest = {name: getattr(row, name) for name in cls.model_fields if name != "says"}
        return cls(**rest, says=directive_of(row).say())


class UnderWay(Result):
    """A trial without a score yet."""

    trial: int
    round: int
    spec: str
    doing: Literal["training", "scoring"]


class SearchStatus(Result):
    """``status --json`` (CONTRACT.md); ``list --json`` is a list of these."""

    search: int
    """id"""
    name: str
    """name"""
    kind: Kind
    """what [kind](memory.md#kinds-of-searches) of search it is, such as `run`, `train` or `study`"""
    state: State
    """`running`, `paused`, `interrupted`, `finished` or `failed`; a search whose process died is `interrupted`"""
    reason: str | None
    """why it ended, or `null`"""
    round: int
    """rounds done"""
    rounds: int
    """rounds asked for"""
    running: list[UnderWay]
    """trials under way, oldest first: `trial`, `round`, `spec` and `doing` (`training` or `scoring`)"""
    replicas: int
    """further trainings under way, of specs that were trained before: the baseline's for the noise, and the race's"""
    budget_macs: int
    """the budget"""
    count: CountConvention
    """`paper` or `total`"""
    backend: str
    """the backend's id, `hand` for a training by hand"""
    protocol: str
    """fingerprint of the protocol: scores of another one do not compare"""
    best: ShortTrial | None
    """`trial`, `spec`, `widths`, `rfid`, `metric`, `macs` and `params` of the best trial, or `null`"""
    baseline: ShortTrial | None
    """the same of the baseline, or `null`"""
    trials: dict[str, int]
    """how many are `scored`, `failed`, `pruned`, `refused`, `trained` (and not scored) and `running`"""
    strategies: dict[str, int] | None
    """in a search for a strategy, how many are `proposed`, `measured` and `failed`, the standard one left out"""
    ledger: Ledger
    """what it has used; see [ledger](#ledger)"""
    directives: list[Directive]
    """what the user told the search and what holds now, oldest first: `id`, `kind`, `arguments`, `says` (what it
    means), `text`, `author`, `state` (`active`), `created`, `seen_round` (the first round that obeyed it, or `null`);
    see [chat.md](chat.md)"""
    created: str
    """when it began"""


def search_status(db: Database, name: str | None) -> SearchStatus:
    """The status of the search of a name, or of the latest."""
    return _status(db, find_search(db, name))


def all_searches(db: Database) -> list[SearchStatus]:
    """The status of every search."""
    return [_status(db, row) for row in list_searches(db)]


def _status(db: Database, row: SearchRow) -> SearchStatus:
    first, start = next(iter(best(db, row.id, limit=1)), None), baseline(db, row.id)
    directives = active_directives(db, row.id)
    return SearchStatus(
        search=row.id,
        name=row.name,
        kind=row.kind,
        state=row.state,
        reason=row.reason,
        round=rounds_over(db, row),
        rounds=row.rounds,
        running=[UnderWay(**each) for each in under_way(db, row)],
        replicas=replicas_under_way(db, row),
        budget_macs=row.budget_macs,
        count=row.count_convention,
        backend=row.backend,
        protocol=row.protocol,
        best=ShortTrial.of(first) if first else None,
        baseline=ShortTrial.of(start) if start else None,
        trials=search_counts(db, row.id),
        strategies=strategy_counts(db, row.id) if row.kind == "strategy" else None,
        ledger=totals(db, row.id),
        directives=[Directive.of(each) for each in directives],
        created=row.created,
    )


def standing(found: SearchStatus) -> str:
    """How far a search is, in one line."""
    return f"{found.name} (search {found.search}): {found.state}, {found.round} of {found.rounds} rounds done"


def at_work(found: SearchStatus) -> list[str]:
    """What a process works on now, a line each."""
    lines = []
    for each in found.running:
        baseline = " (baseline)" if each.round == 0 else ""
        lines.append(f"round {each.round}{baseline}: trial {each.trial}, {each.spec}, {each.doing}")
    if found.replicas:
        lines.append(f"trained again with another seed, to know what is noise: {found.replicas} now")
    return lines


def compared(found: SearchStatus) -> list[str]:
    """The best and the baseline, a line each."""
    lines = []
    for title, row in (("best", found.best), ("baseline", found.baseline)):
        if row:
            macs = format_size(row.macs.by(found.count))
            spec = f"{row.spec} (widths {row.widths})"
            lines.append(f"{title}: trial {row.trial} {spec}, {row.metric} {score(row.rfid)}, {macs} MACs")
    return lines


def used(found: SearchStatus) -> list[str]:
    """How its trials ended, what it used, and what holds for it, a line each."""
    what, counted = ("trials", found.trials) if found.strategies is None else ("strategies", found.strategies)
    counts = ", ".join(f"{count} {state}" for state, count in counted.items())
    directives = [f"directive {directive.id}: {directive.says}" for directive in found.directives]
    return [f"protocol: {found.protocol}", f"{what}: {counts}", f"used: {ledger_line(found.ledger)}", *directives]


def print_status(console: Console, found: SearchStatus, db: Path) -> None:
    """One search of a memory in a few lines."""
    for line in (standing(found), *at_work(found), *compared(found), *used(found)):
        say(console, line)
    if found.state in ("interrupted", "paused"):
        chat = "/resume in a chat, or " if found.state == "paused" else ""
        say(console, f"go on with: {chat}{command('resume', found.name, db=db)}", whole=True)


def print_searches(console: Console, found: list[SearchStatus]) -> None:
    """All searches, one a line."""
    rows = [
        (
            row.name,
            row.state,
            f"{row.round}/{row.rounds}",
            row.best.spec if row.best else "–",
            row.best.widths if row.best else "–",
            score(row.best.rfid) if row.best else "–",
            row.best.metric if row.best else "–",
        )
        for row in found
    ]
    columns = ("name", "state", "rounds done", "spec", "widths", "score", "metric")
    print_table(console, columns, rows, right="rounds done,score")


def print_rows(console: Console, found: list[dict[str, Any]]) -> None:
    """Rows of a SELECT."""
    if not found:
        say(console, "no rows")
        return
    columns = list(found[0])
    print_table(console, columns, [[_cell(row[name]) for name in columns] for row in found])


def _cell(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
