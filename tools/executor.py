"""This machine as the executor: each job is a child process, so its crash is a result and never the end of the search.

The child gets no secrets, a process group of its own, as many threads as it was given cores (more are six times
slower), and a polite SIGTERM when the search stops, upon which it saves. Nothing here decides what is worth running.
"""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any

from diffusion.child import STOPPED
from diffusion.settings import ScoreJob, TrainJob
from memory.redaction import is_secret_name, redact
from tools.errors import Interrupted, JobFailed

STOP_POLL_SECONDS = 0.2
SPIN_COUNT = "1000"  # idle threads soon sleep: 1.1 times slower alone, 38 times faster beside others (docs/log.md)
STDERR_LINES = 20  # enough of a traceback to name the reason

OnProgress = Callable[[dict[str, Any]], None]


class LocalExecutor:
    """Runs one job at a time in a child process of its own."""

    def __init__(self, stop: Event) -> None:
        self.stop = stop
        self.child: subprocess.Popen[str] | None = None

    def train(self, job: TrainJob, on_progress: OnProgress) -> dict[str, Any]:
        """See `tools.context.Executor`."""
        return self._run("diffusion.train", job.run_folder / "job.json", job.model_dump_json(), on_progress)

    def evaluate(self, job: ScoreJob, on_progress: OnProgress) -> dict[str, Any]:
        """See `tools.context.Executor`."""
        return self._run("diffusion.evaluate", job.run_folder / "score-job.json", job.model_dump_json(), on_progress)

    def kill(self) -> None:
        """End the child at once; what its last checkpoint holds is kept."""
        if self.child and self.child.poll() is None:
            self.child.kill()

    def _run(self, module: str, path: Path, job: str, on_progress: OnProgress) -> dict[str, Any]:
        if self.stop.is_set():
            raise Interrupted
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(job)
        threads = str(json.loads(job)["threads"])
        with subprocess.Popen(
            [sys.executable, "-m", module, "--job", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=child_environment(threads),
            start_new_session=True,
        ) as child:
            self.child = child
            Thread(target=self._watch, args=(child,), daemon=True).start()
            assert child.stdout and child.stderr
            errors = Tail(child.stderr, path.with_suffix(".log"))
            done = read_lines(child.stdout, on_progress)
            code = child.wait()
            errors.join()
        return self._outcome(done, code, errors)

    def _watch(self, child: "subprocess.Popen[str]") -> None:
        """Pass the user's stop on to the child."""
        while child.poll() is None:
            if self.stop.wait(STOP_POLL_SECONDS):
                child.terminate()
                return

    def _outcome(self, done: dict[str, Any], code: int, errors: "Tail") -> dict[str, Any]:
        if code == 0 and done.get("event") == "done":
            return done
        if self.stop.is_set() and (code == STOPPED or code < 0):
            raise Interrupted
        if done.get("event") == "failed":
            raise JobFailed(redact(done["reason"]))
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (the system's memory may not suffice)" if name == "SIGKILL" else ""
            raise JobFailed(f"the process was ended by {name}{hint}")
        raise JobFailed(redact(f"the process ended with exit code {code}: {errors.last()}"))


class Tail(Thread):
    """Copies a child's standard error to a log file and keeps its last lines."""

    def __init__(self, stream: IO[str], log: Path) -> None:
        super().__init__(daemon=True)
        self.stream, self.log, self.lines = stream, log, deque[str](maxlen=STDERR_LINES)
        self.start()

    def run(self) -> None:
        """Read to the end."""
        with self.log.open("a") as file:
            for line in self.stream:
                file.write(line)
                self.lines.append(line)

    def last(self) -> str:
        """The last line that says something."""
        return next((line.strip() for line in reversed(self.lines) if line.strip()), "it said nothing")


def read_lines(stream: IO[str], on_progress: OnProgress) -> dict[str, Any]:
    """Hand on the progress lines; the last ``done`` or ``failed`` line, or an empty dictionary."""
    last: dict[str, Any] = {}
    for line in stream:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue  # a library's stray print; its text is no protocol
        if not isinstance(event, dict):
            continue
        if event.get("event") == "progress":
            on_progress(event)
        elif event.get("event") in ("done", "failed"):
            last = event
    return last


def child_environment(threads: str) -> dict[str, str]:
    """The environment without secrets, with the thread count that the cores allow."""
    kept = {name: value for name, value in os.environ.items() if not is_secret_name(name)}
    return (
        {"GOMP_SPINCOUNT": SPIN_COUNT}
        | kept
        | {
            "OMP_NUM_THREADS": threads,
            "PYTHONSAFEPATH": "1",  # a file named like ours in the user's folder is not imported
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "DISABLE_TELEMETRY": "1",
        }
    )
