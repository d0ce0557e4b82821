"""How a job runs as a process of its own: a job file in, JSON lines out, a lock on its run folder, a tidy end.

Exit codes: 0 done · 1 the job failed for a reason that was said in a ``failed`` line, or our bug (a traceback) ·
143 stopped by SIGTERM after saving. Standard output carries JSON lines only; everything else goes to standard error.

Of several processes of one job (RANK and WORLD_SIZE, as torch's launchers set them) the first one speaks. The launcher
ends all when one ends badly and covers the reason with a report of its own, so each process leaves its reason beside
the job, and the first one, which then loses its peers, repeats it.
"""

import argparse
import ctypes
import errno
import fcntl
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TextIO

from diffusion.errors import TrainingFailed, UserError
from diffusion.training.allocator import keep_freed_memory

PR_SET_PDEATHSIG = 1  # prctl(2)
STOPPED = 143  # 128 + SIGTERM, as shells say it
HOST_MEMORY = ("can't allocate memory", "not enough memory")  # how torch's CPU allocator says it, system by system
LOST_PEER = ("gloo/", "NCCL", "Connection closed by peer", "Connection reset by peer")  # in torch's words
LOST_PEER_REASON = "another process of this training was ended from outside (the system's memory may not suffice)"


class Place(NamedTuple):
    """Which of the processes of one job this is, as torch's launchers say it."""

    rank: int
    processes: int

    @classmethod
    def here(cls) -> "Place":
        """That of this process."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


class Stop:
    """Becomes true when the parent asks for an end; the job saves and leaves at the next step."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def die_with_parent() -> None:
    """Ask Linux for a SIGTERM when the parent dies, so that a killed search leaves no training behind.

    The parent is the thread that started this process; it waits for us, so it dies with the search alone.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Lines:
    """JSON lines to the parent, or to nobody."""

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream
        self.is_heard = True  # until a line finds that the parent is gone

    def emit(self, event: str, **values: Any) -> None:
        """One line ``{"event": …}``."""
        if self.stream is None:
            return
        try:
            print(json.dumps({"event": event, **values}), file=self.stream, flush=True)
        except BrokenPipeError:
            self.is_heard = False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder: a job that a dead parent left behind may still be saving."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_child(work: Callable[[str, Lines, Stop], bool], argv: list[str] | None = None) -> int:
    """Read ``--job FILE`` and do the work, which returns whether it was finished; the exit code."""
    parser = argparse.ArgumentParser(description=work.__doc__)
    parser.add_argument("--job", type=Path, required=True, metavar="FILE", help="the job as JSON")
    path: Path = parser.parse_args(argv).job
    place = Place.here()
    lines, stop = Lines(sys.stdout if place.rank == 0 else None), Stop()
    die_with_parent()
    keep_freed_memory()
    try:
        with redirect_stdout(sys.stderr):
            return 0 if work(path.read_text(), lines, stop) else STOPPED
    except Exception as error:
        if place.processes > 1:
            _fail_together(error, place, path.with_suffix(f".{os.getppid()}.failed"))
            return 1
        reason = reason_of(error)
        if reason is None:
            raise
        lines.emit("failed", reason=reason)
    return 1


def end_process(code: int) -> None:
    """Leave with an exit code; one of several processes at once, since taking leave of lost peers may take forever."""
    if Place.here().processes > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def reason_of(error: Exception) -> str | None:
    """Why a job failed, in one line; None for a bug of ours."""
    if isinstance(error, TrainingFailed | UserError):
        return str(error)
    if is_out_of_memory(error):
        return f"out of memory: {(str(error) or 'the host has no more to give').splitlines()[0]}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on device: '{error.filename or 'a file of this training'}' could not be written"
    return None


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory did not suffice, on the device or the host."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(words in str(error) for words in HOST_MEMORY)


def is_lost_peer(error: Exception) -> bool:
    """Whether an error says that another process of this job is gone."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in LOST_PEER)


def _fail_together(error: Exception, place: Place, note: Path) -> None:
    """Say why one of several processes failed, or repeat what the one said that failed before.

    The note is named by the launcher, which is the parent of all, so that none of an earlier launch is found.
    """
    reason = reason_of(error)
    if reason is None and is_lost_peer(error):
        if place.rank == 0:
            Lines(sys.stdout).emit("failed", reason=_reason_left(note) or LOST_PEER_REASON)
        return
    is_agreed = isinstance(error, TrainingFailed | UserError)  # then every process fails, or the first repeats it
    if not is_agreed:
        traceback.print_exc()
        reason = f"{reason or _last_line(error)} (process {place.rank + 1} of {place.processes})"
    if place.rank > 0:
        with suppress(OSError):
            note.write_text(str(reason))
    if place.rank == 0 or not is_agreed:
        Lines(sys.stdout).emit("failed", reason=reason)


def _reason_left(note: Path) -> str | None:
    """What another process left beside the job."""
    try:
        reason = note.read_text()
        note.unlink()
    except OSError:
        return None
    return reason


def _last_line(error: Exception) -> str:
    """The end of a traceback."""
    return traceback.format_exception_only(error)[-1].strip()
