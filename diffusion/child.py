"""How a job runs as a process of its own: a job file in, JSON lines out, a lock on its run folder, a tidy end.

Exit codes: 0 done · 1 the job failed for a reason that was said in a ``failed`` line, or our bug (a traceback) ·
143 stopped by SIGTERM after saving. Standard output carries JSON lines only; everything else goes to standard error.
"""

import argparse
import ctypes
import fcntl
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from diffusion.errors import TrainingFailed, UserError

PR_SET_PDEATHSIG = 1  # prctl(2)
STOPPED = 143  # 128 + SIGTERM, as shells say it
HOST_MEMORY = ("can't allocate memory", "not enough memory")  # how torch's CPU allocator says it, system by system


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
    """JSON lines to the parent."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def emit(self, event: str, **values: Any) -> None:
        """One line ``{"event": …}``."""
        print(json.dumps({"event": event, **values}), file=self.stream, flush=True)


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
    text = parser.parse_args(argv).job.read_text()
    lines, stop = Lines(sys.stdout), Stop()
    die_with_parent()
    try:
        with redirect_stdout(sys.stderr):
            return 0 if work(text, lines, stop) else STOPPED
    except (TrainingFailed, UserError) as error:
        lines.emit("failed", reason=str(error))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        said = str(error) or "the host has no more to give"
        lines.emit("failed", reason=f"out of memory: {said.splitlines()[0]}")
    return 1


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory did not suffice, on the device or the host."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(words in str(error) for words in HOST_MEMORY)
