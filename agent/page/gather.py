"""Reads all that the page of a search shows out of the memory, in one moment of it and in few questions."""

import re
from importlib.metadata import version
from pathlib import Path

from sqlite_utils import Database

from agent.page.data import About, Finding, PageData, Point, Race, Said, Table
from agent.page.effects import effects_of
from agent.page.findings.made import findings_of
from agent.page.loading import loading
from agent.page.outcome import beside_baseline, best_of, goal_of, race_of, said_of
from agent.page.pictures import grids_of
from agent.page.points import (
    curves_of,
    directives_of,
    few_enough,
    front,
    ranked,
    refusals_of,
    search_settings,
    seeds_of,
    trials_of,
)
from agent.report.tables import ledger_line
from agent.trials.model_card import flat
from diffusion.settings import Protocol
from diffusion.statistics.noise import interval
from memory.connection import database_path, utc_now
from memory.journal import snapshot
from memory.ledger import totals
from memory.queries.progress import proposer_shares, rounds_over, search_counts
from memory.replicas import seed_scores
from memory.searches import SearchRow, find_protocol, find_search
from tools.jobs.replicate import noise_of, usable

SPENT = """
    SELECT kind, count(*), sum(device_seconds), sum(wall_seconds), sum(input_tokens), sum(output_tokens)
    FROM ledger WHERE search = ? GROUP BY kind ORDER BY kind
    """
ENTRY = re.compile(r".+-\w+-\d+")  # how the searches of a comparison are named
OWN_RESULT = ("strategy", "confirm", "compress")
"""Kinds whose result is no best of trials: what their own command found stands for it."""


def page_data(db: Database, name: str | None = None, compare: str | None = None) -> PageData:
    """Everything about the search of a name, or the latest one, as it is at one moment.

    Args:
        db: the memory; a read-only connection suffices.
        name: of the search, or its number.
        compare: a comparison, or another search, to be put beside it.

    Raises:
        UserError: there is no such search, or what is to be put beside it cannot be.
    """
    with snapshot(db):
        return _page_data(db, find_search(db, name), compare)


def _page_data(db: Database, search: SearchRow, compare: str | None) -> PageData:
    protocol, everything = find_protocol(db, search.protocol), trials_of(db, search.id)
    baseline = next((each for each in everything if each.round == 0), None)
    if baseline is not None and baseline.low is None:
        place, baseline = everything.index(baseline), with_seeds(db, search, baseline)
        everything[place] = baseline
    seeds = seeds_of(db, search, baseline.trial if baseline else None)
    race, findings = race_of(db, search, seeds), findings_of(db, search)
    said = said_about(search, protocol, everything, race, findings)
    findings += _beside(db, search, compare)
    best = best_of(said, everything)
    shown_best = beside_baseline(best, everything, baseline)
    about, trials = about_of(db, search, protocol), few_enough(everything)
    return PageData(
        about=about,
        said=said,
        counts=search_counts(db, search.id),
        trials=trials,
        left_out=len(everything) - len(trials),
        fronts={"paper": front(everything, "paper"), "total": front(everything, "total")},
        seeds=seeds,
        refusals=refusals_of(db, search.id),
        directives=directives_of(db, search.id),
        race=race,
        effects=effects_of(db, search.id, everything),
        curves=curves_of(db, everything, shown_best.trial if shown_best else None),
        grids=grids_of(db, search.protocol, shown_best, baseline),
        findings=findings,
        ledger=ledger_of(db, search.id),
        protocol=[(name, str(value)) for name, value in flat(protocol.model_dump(mode="json", exclude_none=True))],
        load=loading(search, protocol, best, about.bench, Path(database_path(db))),
    )


def _beside(db: Database, search: SearchRow, compare: str | None) -> list[Finding]:
    """What was asked for beside it, or the comparison that it belongs to by its name."""
    if compare is None and not ENTRY.fullmatch(search.name):
        return []
    from agent.page.findings.beside import beside, own_comparison

    name = compare or own_comparison(db, search)
    return [] if name is None else [beside(db, search, name)]


def with_seeds(db: Database, search: SearchRow, baseline: Point) -> Point:
    """The baseline with the interval of all its training seeds, where there are enough."""
    scores = usable(seed_scores(db, search.id, replicated=True).get(baseline.spec, []))
    bounds = interval(noise_of(db, search.id), scores) if scores else None
    return baseline if bounds is None else baseline.model_copy(update={"low": bounds[0], "high": bounds[1]})


def said_about(
    search: SearchRow, protocol: Protocol, trials: list[Point], race: Race | None, findings: list[Finding]
) -> Said:
    """Goal and result; of a kind with a result of its own what that says."""
    if search.kind not in OWN_RESULT:
        return said_of(search, protocol, trials, race)
    result, *more = findings[0].says
    made = [each.trial for each in ranked(trials) if search.kind != "compress" or each.round > 0]
    chosen = next(iter(made), None)
    goal = goal_of(search, protocol)
    return Said(goal=goal, result=result, more=more, recommended=chosen, is_measured=True)


def about_of(db: Database, search: SearchRow, protocol: Protocol) -> About:
    """The search itself."""
    settings, bench = protocol.settings, search_settings(search).get("bench")
    return About(
        search=search.id,
        name=search.name,
        kind=search.kind,
        state=search.state,
        reason=search.reason,
        created=search.created,
        finished=search.finished,
        written=utc_now(),
        version=version("diffnas-agent"),
        dataset=settings.dataset,
        resolution=settings.resolution,
        channels=settings.channels,
        family=settings.family,
        searcher=search.searcher,
        backend=search.backend,
        bench=bench if isinstance(bench, str) else None,
        budget_macs=search.budget_macs,
        count=search.count_convention,
        rounds=search.rounds,
        rounds_done=rounds_over(db, search),
        metric=protocol.score.metric,
        protocol=search.protocol,
    )


def ledger_of(db: Database, search: int) -> list[Table]:
    """What was used by kind, and who proposed."""
    rows = db.conn.execute(SPENT, [search]).fetchall()
    cells = [[row[0], *(f"{value:,.0f}" for value in tuple(row)[1:])] for row in rows]
    columns = ["what", "entries", "device-seconds", "seconds", "tokens read", "tokens written"]
    shares = [[name, str(count)] for name, count in proposer_shares(db, search).items()]
    found = [Table(caption=f"In all: {ledger_line(totals(db, search))}", columns=columns, rows=cells)]
    if shares:
        found.append(Table(caption="Who proposed the trials", columns=["proposer", "trials"], rows=shares))
    return found
