"""The rows of a search for its page: trials, seeds, refusals, directives and curves, each by one question."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from sqlite_utils import Database

from agent.page.data import Curve, Given, Point, Refusal, Seed
from diffusion.spec import widths
from memory.directives import all_directives
from memory.searches import CountConvention, SearchRow
from tools.gates.directive_kinds import directive_of

MOST_TRIALS = 1_500
"""On a page; of more the best, the newest, and some between."""
BEST_KEPT, NEWEST_KEPT = 800, 200
MOST_REFUSALS = 2_000
"""The latest ones."""
MOST_CURVES = 40

TRIALS = """
    SELECT trial, round, created AS begun, finished, spec, state, rfid AS score, ci_low AS low, ci_high AS high,
        macs_paper AS paper, macs_total AS total, params, proposer, cached, versus_baseline AS verdict,
        device_seconds AS seconds, coalesce(reason, '') AS reason, error, training
    FROM results WHERE search = ?{some} ORDER BY round, trial
    """
SOME = " AND trial IN (SELECT value FROM json_each(?))"

SEEDS = """
    SELECT replicas.trial, trainings.seed, replicas.state, replicas.finished, (
        SELECT avg(value) FROM scores
        WHERE scores.training = replicas.training AND scores.protocol = searches.protocol
    ) AS score
    FROM replicas JOIN trainings ON trainings.id = replicas.training JOIN searches ON searches.id = replicas.search
    WHERE replicas.search = ? ORDER BY replicas.id
    """


def trials_of(db: Database, search: int, among: Iterable[int] | None = None) -> list[Point]:
    """The trials of a search by round, all or some, under its protocol; a score that is not finite is none."""
    values: list[int | str] = [search] if among is None else [search, json.dumps(sorted(among))]
    rows = [dict(row) for row in db.conn.execute(TRIALS.format(some="" if among is None else SOME), values)]
    for row in rows:
        row["score"] = row["score"] if row["score"] is not None and math.isfinite(row["score"]) else None
        row |= {"widths": widths(row["spec"]), "cached": bool(row["cached"])}
    return [Point(**row) for row in rows]


def few_enough(trials: Sequence[Point]) -> list[Point]:
    """Those that a page has room for, in their order."""
    if len(trials) <= MOST_TRIALS:
        return list(trials)
    kept = {each.trial for each in (*ranked(trials)[:BEST_KEPT], *trials[-NEWEST_KEPT:], trials[0])}
    others = [each.trial for each in trials if each.trial not in kept]
    kept |= set(others[:: math.ceil(len(others) / (MOST_TRIALS - len(kept)))])
    return [each for each in trials if each.trial in kept]


def ranked(trials: Iterable[Point]) -> list[Point]:
    """Those with a score, best first."""
    return sorted((each for each in trials if each.score is not None), key=lambda each: (each.score, each.trial))


def front(trials: Iterable[Point], count: CountConvention) -> list[int]:
    """The trials that none beats in both score and cost, cheapest first."""
    found: list[Point] = []
    for each in sorted(ranked(trials), key=lambda each: (getattr(each, count), each.score, each.trial)):
        if not found or (each.score or 0.0) < (found[-1].score or 0.0):
            found.append(each)
    return [each.trial for each in found]


def seeds_of(db: Database, search: SearchRow, baseline: int | None) -> list[Seed]:
    """The further trainings of a search; in a `run` the baseline's first ones were made before the race."""
    before_race = search.seed + int(search_settings(search).get("replicas", 1))
    found = []
    for row in db.conn.execute(SEEDS, [search.id]):
        is_race = search.kind == "run" and (row["trial"] != baseline or row["seed"] >= before_race)
        found.append(Seed(**dict(row), is_race=is_race))
    return found


def refusals_of(db: Database, search: int) -> list[Refusal]:
    """The latest proposals that were refused, oldest first."""
    rows = db.conn.execute(
        "SELECT round, created AS at, proposer, spec, refusal_kind AS kind, refusal AS why FROM proposals"
        " WHERE search = ? AND accepted = 0 ORDER BY id DESC LIMIT ?",
        [search, MOST_REFUSALS],
    )
    return [Refusal(**dict(row)) for row in rows][::-1]


def directives_of(db: Database, search: int) -> list[Given]:
    """Everything that the user told a search, oldest first."""
    return [
        Given(
            directive=row.id, at=row.created, round=row.seen_round, says=directive_of(row).say(), text=row.text,
            author=row.author, state=row.state, ended=row.ended,
        )
        for row in all_directives(db, search)
    ]  # fmt: skip


def curves_of(db: Database, trials: Sequence[Point], best: int | None) -> list[Curve]:
    """The loss curves of the best trainings, the baseline's and those under way among them; none where none is kept."""
    wanted = {each.training: each for each in reversed([each for each in trials if each.state == "running"])}
    wanted |= {each.training: each for each in (*ranked(trials)[:MOST_CURVES], *trials[:1])}
    rows = db.conn.execute(
        "SELECT training, json_group_array(json_array(step, loss)) AS points FROM ("
        "SELECT training, step, loss FROM loss_curves WHERE training IN (SELECT value FROM json_each(?))"
        " ORDER BY training, step) GROUP BY training",
        [json.dumps(list(wanted))],
    )
    points: dict[int, Any] = {row["training"]: json.loads(row["points"]) for row in rows}
    return [
        Curve(trial=each.trial, spec=each.spec, role=_role(each, best), points=points[training])
        for training, each in wanted.items()
        if training in points
    ]


def _role(trial: Point, best: int | None) -> Any:
    return "baseline" if trial.round == 0 else "best" if trial.trial == best else "other"


def search_settings(search: SearchRow) -> dict[str, Any]:
    """The settings as they were stored, whatever version wrote them."""
    found: dict[str, Any] = json.loads(search.config_json)
    return found
