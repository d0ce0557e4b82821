"""One search as the page shows it, kept in step with the memory: of its trials only those that changed are read again.

The journal of the memory says which rows changed since it was last read. What is drawn from all trials (front, result,
effects) is made anew from what is in hand, and only where a trial changed.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from agent.dashboard.parts import Parts
from agent.page.data import Point, shown_lines
from agent.page.effects import effects_of
from agent.page.findings.made import findings_of
from agent.page.gather import OWN_RESULT, about_of, said_about, with_seeds
from agent.page.html import row_of
from agent.page.outcome import beside_baseline, best_of, race_of
from agent.page.pictures import grids_by_seed
from agent.page.points import curves_of, directives_of, few_enough, front, refusals_of, seeds_of, trials_of
from memory.journal import moment
from memory.queries.progress import search_counts, under_way
from memory.searches import SearchRow, find_protocol, find_search
from memory.transcript import recent_messages

MOST_MESSAGES = 200
ROLES = ("user", "assistant")

CHANGED = """
    SELECT trials.id FROM trials WHERE trials.search = :search AND (
        trials.id IN (SELECT row FROM journal WHERE id > :since AND place = 'trials')
        OR trials.training IN (SELECT row FROM journal WHERE id > :since AND place = 'trainings')
        OR trials.training IN (
            SELECT scores.training FROM journal JOIN scores ON scores.rowid = journal.row
            WHERE journal.id > :since AND journal.place = 'scores'
        )
        OR trials.id IN (
            SELECT verdicts.trial FROM journal JOIN verdicts ON verdicts.rowid = journal.row
            WHERE journal.id > :since AND journal.place = 'verdicts'
        )
    )
    """
RETRAINED = "SELECT count(*), coalesce(max(row), 0) FROM journal WHERE id > ? AND place = 'replicas'"


class View:
    """A search in parts; `refresh` reads what changed since it last did."""

    def __init__(self, search: int) -> None:
        self.search, self.parts = search, Parts()
        self.trials: dict[int, Point] = {}
        self._dumped: dict[int, dict[str, Any]] = {}
        self._journal, self._is_drawn = -1, False

    def refresh(self, db: Database, version: int) -> bool:
        """Read what is new, of one moment, as this version; whether anything is another.

        Raises:
            UserError: there is no such search any more.
        """
        row, now = find_search(db, self.search), moment(db)
        if now < self._journal:  # another memory in its place
            self.trials, self._journal = {}, -1
        changed = self._read_trials(db, row, now)
        self._journal = now
        parts = self.parts
        known = [
            parts.put("about", _about(db, row), version),
            parts.put("counts", search_counts(db, row.id), version),
            parts.put("running", [self._doing(db, row, each) for each in under_way(db, row)], version),
            parts.put_rows("refusals", _numbered(refusals_of(db, row.id)), version),
            parts.put_rows("directives", {each.directive: _plain(each) for each in directives_of(db, row.id)}, version),
            parts.put_rows("messages", _messages(db, row.id), version),
            self._put_drawn(db, row, changed, version),
        ]
        return any(known)

    def grids(self, db: Database, trial: int) -> dict[int, Path]:
        """The grids of a trial as paths by the seed of their noise."""
        point = self.trials.get(trial)
        return {} if point is None else grids_by_seed(db, find_search(db, self.search).protocol, point)

    def _read_trials(self, db: Database, row: SearchRow, now: int) -> set[int]:
        """The trials that are another than they were."""
        if self._journal < 0:
            found = trials_of(db, row.id)
        else:
            ids = {each[0] for each in db.conn.execute(CHANGED, {"search": row.id, "since": self._journal})}
            retrained = db.conn.execute(RETRAINED, [self._journal]).fetchone()[0]
            baseline = next((each.trial for each in self.trials.values() if each.round == 0), None)
            ids |= {baseline} if retrained and baseline is not None else set()
            found = trials_of(db, row.id, ids) if ids else []
        found = [with_seeds(db, row, each) if each.round == 0 and each.low is None else each for each in found]
        changed = {each.trial for each in found if self.trials.get(each.trial) != each}
        self.trials |= {each.trial: each for each in found}
        return changed

    def _put_drawn(self, db: Database, row: SearchRow, changed: set[int], version: int) -> bool:
        """What is made of all trials."""
        points = sorted(self.trials.values(), key=lambda each: (each.round, each.trial))
        baseline = next((each for each in points if each.round == 0), None)
        seeds = seeds_of(db, row, baseline.trial if baseline else None)
        race = race_of(db, row, seeds)
        findings = findings_of(db, row) if row.kind in OWN_RESULT else []
        said = said_about(row, find_protocol(db, row.protocol), points, race, findings)
        parts, best = self.parts, beside_baseline(best_of(said, points), points, baseline)
        curves = curves_of(db, points, best.trial if best else None)
        known = [
            parts.put_rows("seeds", {f"{each.trial}-{each.seed}": _plain(each) for each in seeds}, version),
            parts.put("race", None if race is None else _plain(race), version),
            parts.put("said", _plain(said), version),
            parts.put_rows("curves", {each.trial: _plain(each) for each in curves}, version),
        ]
        if not changed and self._is_drawn:
            return any(known)
        self._is_drawn, listed = True, few_enough(points)
        self._dumped |= {trial: _trial(self.trials[trial]) for trial in changed}
        known += [
            parts.put_rows("trials", {each.trial: self._dumped[each.trial] for each in listed}, version),
            parts.put("left_out", len(points) - len(listed), version),
            parts.put("fronts", {count: front(points, count) for count in ("paper", "total")}, version),
            parts.put("effects", [_plain(each) for each in effects_of(db, row.id, points)], version),
        ]
        return any(known)

    def _doing(self, db: Database, row: SearchRow, each: dict[str, Any]) -> dict[str, Any]:
        """A trial under way, with the step of its training where that is known."""
        point = self.trials.get(each["trial"])
        if point is None or each["doing"] != "training":
            return {**each, "step": None, "steps": None}
        found = db.conn.execute("SELECT max(step) FROM loss_curves WHERE training = ?", [point.training]).fetchone()
        return {**each, "step": found[0], "steps": find_protocol(db, row.protocol).strategy.train_steps}


def _about(db: Database, row: SearchRow) -> dict[str, Any]:
    """The search itself; when it was read is no news."""
    found = about_of(db, row, find_protocol(db, row.protocol))
    return found.model_dump(mode="json", exclude={"written", "version"})


def _trial(each: Point) -> dict[str, Any]:
    return {**each.model_dump(mode="json", exclude={"training"}), "cells": row_of(each)}


def _plain(found: Any) -> Any:
    return found.model_dump(mode="json")


def _numbered(found: Iterable[Any]) -> dict[str, Any]:
    """Rows by a key of their own: two of one instant are two."""
    rows: dict[str, Any] = {}
    for each in found:
        key, number = f"{each.round} {each.at} {each.proposer}", 0
        while f"{key} {number}" in rows:
            number += 1
        rows[f"{key} {number}"] = _plain(each)
    return rows


def _messages(db: Database, search: int) -> dict[int, Any]:
    """What was said last."""
    rows = [each for each in recent_messages(db, search, MOST_MESSAGES) if each["role"] in ROLES]
    return {
        each["id"]: {name: each[name] for name in ("role", "author", "created", "key")}
        | {"text": shown_lines(each["text"])}
        for each in rows
    }
