"""Leases: one process at a time drives a search, and a dead one's search can be taken over.

A lease holds as long as its process lives: on this host that is looked up, elsewhere its heartbeat must be younger than
`LEASE_SECONDS`. Nothing here starts or stops a process.
"""

import os
import secrets
import socket
import sqlite3
from functools import cache
from pathlib import Path

from sqlite_utils import Database

from diffusion.errors import UserError, command
from memory.connection import database_path, seconds_since, transaction, utc_now

LEASE_SECONDS = 60.0


class LeaseLost(RuntimeError):
    """Another process drives this search now; whoever gets this must write nothing more."""


def take_lease(db: Database, search: int) -> str:
    """The right to drive a search, as a token; this process's own earlier lease is replaced.

    Raises:
        UserError: another process that lives holds it.
    """
    with transaction(db) as conn:
        row = conn.execute("SELECT * FROM searches WHERE id = ?", [search]).fetchone()
        if lease_lives(row) and not _is_this_process(row):
            name, by = row["name"], f"process {row['lease_pid']} on {row['lease_host'].split()[0]}"
            path, is_paused = Path(database_path(db)), row["state"] == "paused"
            look = command("chat" if is_paused else "status", name, db=path)
            if is_paused:
                raise UserError(f"'{name}' is paused and held by {by}; let it go on with /resume in `{look}`")
            raise UserError(f"'{name}' is being driven by {by}; wait for it, or look at it with `{look}`")
        token = secrets.token_hex(8)
        pid = os.getpid()
        conn.execute(
            "UPDATE searches SET lease_token = ?, lease_host = ?, lease_pid = ?, lease_pid_start = ?,"
            " lease_heartbeat = ? WHERE id = ?",
            [token, this_host(), pid, process_start(pid), utc_now(), search],
        )
    return token


def renew_lease(db: Database, search: int, token: str) -> None:
    """Show other hosts that this process lives; needed at least every `LEASE_SECONDS`.

    Raises:
        LeaseLost: another process has taken the search over.
    """
    with transaction(db) as conn:
        now = utc_now()
        changed = conn.execute(
            "UPDATE searches SET lease_heartbeat = ?, updated = ? WHERE id = ? AND lease_token = ?",
            [now, now, search, token],
        )
        if not changed.rowcount:
            raise LeaseLost(f"search {search} is driven by another process now")


def release_lease(db: Database, search: int, token: str) -> None:
    """Give the search free; without effect for a lease that was lost before."""
    with transaction(db) as conn:
        conn.execute(
            "UPDATE searches SET lease_token = NULL, lease_host = NULL, lease_pid = NULL, lease_pid_start = NULL,"
            " lease_heartbeat = NULL WHERE id = ? AND lease_token = ?",
            [search, token],
        )


def is_driven(db: Database, search: int) -> bool:
    """Whether a living process holds a search, be it paused."""
    row = db.conn.execute("SELECT * FROM searches WHERE id = ?", [search]).fetchone()
    return lease_lives(row)


def driven_by(db: Database, pid: int) -> str | None:
    """The search that a process of this machine drives."""
    rows = db.conn.execute("SELECT * FROM searches WHERE lease_pid = ? AND lease_host = ?", [pid, this_host()])
    return next((str(row["name"]) for row in rows if lease_lives(row)), None)


@cache
def this_host() -> str:
    """Where a process number means one process: host name, boot and process namespace (containers share host names)."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    parts = [socket.gethostname() or "localhost"]
    if boot.exists() and namespace.is_symlink():
        parts += [boot.read_text().strip()[:8], os.readlink(namespace)]
    return " ".join(parts)


def process_start(pid: int) -> int | None:
    """When a living process started, in clock ticks since boot; None if it is dead or this system has no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the second field, the command's name, may itself hold spaces
    state, start = fields[0], fields[19]  # fields 3 and 22 of proc(5)
    return None if state in "ZX" else int(start)


def lease_lives(row: sqlite3.Row) -> bool:
    """Whether the process that holds a search's row lives, as far as can be seen from here; no holder, no life."""
    if row["lease_token"] is None:
        return False
    if row["lease_host"] != this_host():
        return seconds_since(row["lease_heartbeat"]) < LEASE_SECONDS
    if row["lease_pid_start"] is None:
        return _answers(row["lease_pid"])
    return bool(process_start(row["lease_pid"]) == row["lease_pid_start"])


def _is_this_process(row: sqlite3.Row) -> bool:
    return bool(row["lease_host"] == this_host() and row["lease_pid"] == os.getpid())


def _answers(pid: int) -> bool:
    """Whether a process exists, for systems without /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
