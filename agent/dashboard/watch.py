"""Looks at the memory for all tabs, and keeps what they show in step with it; it never writes.

A look asks SQLite whether another connection has committed (`PRAGMA data_version`, microseconds) and whether the file
is still the same one, which SQLite does not notice. Only then something is read: the list of searches, and those that a
tab shows. A process that died writes nothing, so while a search is driven its lease is looked at now and then.
"""

import asyncio
import secrets
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from sqlite_utils import Database
from starlette.concurrency import run_in_threadpool

from agent.dashboard.parts import Parts
from agent.dashboard.view import View
from agent.report.console import people
from agent.report.status import search_status
from agent.report.tables import say
from diffusion.errors import UserError
from memory.connection import connect
from memory.journal import snapshot
from memory.searches import LIVE, SearchRow, find_search, list_searches

LOOK_SECONDS = 0.5
LEASES_SECONDS = 3.0
KEPT_SECONDS = 120.0  # for which a search that no tab asks about is kept in step


class Watch:
    """The searches of a memory as tabs are told of them; one thread at a time reads."""

    def __init__(self, path: Path) -> None:
        self.path, self.epoch, self.version = path, secrets.token_hex(4), 0
        self.listeners: set[asyncio.Queue[int]] = set()
        self._db: Database | None = None
        self._inode, self._seen = 0, (0, 0)
        self._lock = threading.RLock()
        self._forget()

    def news(self, name: str | None, epoch: str, have: int, shown: int | None) -> dict[str, Any]:
        """What a tab lacks that has a version of an epoch, with the search `shown`, and asks for one by name.

        Without a name it is the latest. Of a search that it did not show it lacks everything.

        Raises:
            UserError: the memory cannot be read.
        """
        with self._lock:
            self.look()
            have = have if epoch == self.epoch else 0
            told: dict[str, Any] = {"list": self._list.since(have), "shown": None, "search": None, "why": None}
            if self._db is not None and (name is not None or self._states):
                try:
                    view = self._view(find_search(self._db, name).id)
                    since = have if view.search == shown else 0
                    told |= {"shown": view.parts.since(since), "search": view.search, "whole": since == 0}
                except UserError as error:
                    told["why"] = f"{error}."
            return told | {"epoch": self.epoch, "version": self.version, "memory": str(self.path)}

    def look(self) -> bool:
        """Read what is new; whether anything is.

        Raises:
            UserError: the memory cannot be read.
            sqlite3.Error: it is busy; look again.
        """
        with self._lock:
            if not self._is_open():
                return False
            assert self._db is not None
            seen = (self._inode, int(self._db.conn.execute("PRAGMA data_version").fetchone()[0]))
            if seen == self._seen and not self._leases_are_due():
                return False
            with snapshot(self._db):
                is_new = self._read(self._db)
            self._seen = seen  # only now: after an error it is read again
            return is_new

    def touch(self) -> None:
        """Something that is not in the memory is another; to be told with the next look."""
        with self._lock:
            self.version += 1

    async def run(self) -> None:
        """Look for as long as the server runs, and say which version there is when it is another."""
        told, said = self.version, ""
        while True:
            try:
                await run_in_threadpool(self.look)
                said = ""
            except (UserError, sqlite3.Error, OSError) as error:
                if str(error) != said:  # once, however long it lasts
                    said = str(error)
                    say(people(stderr=True), said)
            if told != self.version:
                told = self.version
                for queue in self.listeners:
                    if not queue.full():  # a slow tab misses notices, never content
                        queue.put_nowait(told)
            await asyncio.sleep(LOOK_SECONDS)

    def close(self) -> None:
        """Let go of the memory."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def grids(self, search: int, trial: int) -> dict[int, Path]:
        """The grids of a trial by the seed of their noise.

        Raises:
            UserError: there is no such search.
        """
        with self._lock:
            if not self._is_open():
                return {}
            assert self._db is not None
            return self._view(search).grids(self._db, trial)

    def _forget(self) -> None:
        self._list, self._states = Parts(), dict[int, str]()
        self._views, self._asked = dict[int, View](), dict[int, float]()
        self._rows: dict[int, tuple[SearchRow, dict[str, Any]]] = {}
        self._leases_at = 0.0

    def _is_open(self) -> bool:
        """Open the memory, anew where another file is in its place; whether there is one."""
        if not self.path.exists() or not self.path.stat().st_size:
            return False
        inode = self.path.stat().st_ino
        if self._db is None or inode != self._inode:
            self.close()
            self._db = connect(self.path, read_only=True, check_same_thread=False)
            self._inode, self.epoch = inode, secrets.token_hex(4)
            self._forget()
        return True

    def _leases_are_due(self) -> bool:
        is_live = any(state in LIVE for state in self._states.values())
        return is_live and time.monotonic() - self._leases_at > LEASES_SECONDS and self._states_differ()

    def _states_differ(self) -> bool:
        """Whether the process of a search has died since."""
        assert self._db is not None
        self._leases_at = time.monotonic()
        live = [number for number, state in self._states.items() if state in LIVE]
        return any(find_search(self._db, number).state != self._states[number] for number in live)

    def _read(self, db: Database) -> bool:
        version, searches = self.version + 1, list_searches(db)
        self._states = {row.id: row.state for row in searches}
        rows = {row.id: self._listed(db, row) for row in searches}
        known = [self._list.put_rows("searches", rows, version)]
        for number, view in list(self._views.items()):
            if number not in self._states or time.monotonic() - self._asked[number] > KEPT_SECONDS:
                del self._views[number], self._asked[number]
            else:
                known.append(view.refresh(db, version))
        self.version = version if any(known) else self.version
        return any(known)

    def _listed(self, db: Database, row: SearchRow) -> dict[str, Any]:
        """A search in the list; of one that stands still what was read before."""
        before = self._rows.get(row.id)
        if before is not None and row.state not in LIVE and before[0] == row:
            return before[1]
        found = search_status(db, str(row.id))
        told = {name: getattr(found, name) for name in ("search", "name", "kind", "state", "reason", "round", "rounds")}
        best = None if found.best is None else {"spec": found.best.spec, "score": found.best.rfid}
        told |= {"best": best, "doing": [each.model_dump() for each in found.running]}
        self._rows[row.id] = row, told
        return told

    def _view(self, search: int) -> View:
        """A search that a tab shows, read when it is first asked for."""
        self._asked[search] = time.monotonic()
        if search not in self._views:
            assert self._db is not None
            view = View(search)
            with snapshot(self._db):
                view.refresh(self._db, self.version + 1)
            self._views[search], self.version = view, self.version + 1
        return self._views[search]
