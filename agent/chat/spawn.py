"""Begins a search from a chat, or goes on with one, in a process of its own: leaving the chat does not end it.

What it would say on a terminal goes to a log beside the memory. That it drives is learnt through the memory alone.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from diffusion.errors import UserError
from memory.connection import opened
from memory.leases import driven_by

PROGRAM = (sys.executable, "-m", "agent")
MISTAKE = 2  # exit code of what the person has to mend
PATIENCE_SECONDS = 300.0  # for imports, data and a cold disk
POLL_SECONDS = 0.2

_outliving: list[subprocess.Popen[bytes]] = []  # kept, so that none is waited for or complained about at the end


@dataclass(frozen=True)
class Started:
    """A process that was started: the search that it drives, or None where it has ended, and the end of its log."""

    search: str | None
    log: Path
    said: str

    def sentence(self) -> str:
        """What became of it, for the person."""
        if self.search is None:
            return f"It has ended already; its last words: {self.said or 'none'} ({self.log})"
        return f"{self.search} goes on in a process of its own, whatever becomes of this chat; its lines: {self.log}"


def start(arguments: Sequence[str], db: Path) -> Started:
    """Start `run` or `resume` with these arguments on a memory, and wait until it drives its search or has ended.

    Raises:
        UserError: it refuses what it was told, or nothing is heard of it.
    """
    log = db.with_name(f"{db.stem}.log")
    with log.open("a", encoding="utf-8") as words:
        begins_at = words.tell()
        process = subprocess.Popen(
            [*PROGRAM, *arguments, "--db", str(db)],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the chat is the chat's
        )
    _outliving.append(process)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        code = process.poll()
        if code == MISTAKE:
            raise UserError(_last_line(log, begins_at))
        if code is not None:
            return Started(None, log, _last_line(log, begins_at))
        if name := _driven(db, process.pid):
            return Started(name, log, "")
        time.sleep(POLL_SECONDS)
    process.terminate()
    raise UserError(f"'{' '.join(arguments)}' did not begin in {PATIENCE_SECONDS:.0f} s; see {log}")


def _driven(db: Path, pid: int) -> str | None:
    """The search that a process drives; None while there is no memory, or one that is only being made."""
    # what is wrong with a memory for good, the process itself ends by saying
    with suppress(UserError), opened(db, read_only=True) as memory:
        return driven_by(memory, pid)
    return None


def _last_line(log: Path, begins_at: int) -> str:
    with log.open(encoding="utf-8", errors="replace") as words:
        words.seek(begins_at)
        lines = [line.strip() for line in words.read().splitlines() if line.strip()]
    return lines[-1] if lines else ""
