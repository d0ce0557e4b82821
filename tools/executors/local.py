"""This machine as the executor: each job is a child process, so its crash is a result and never the end of the search.

A job of one process is forked from one that has imported what it needs (`tools.executors.warm`), where that can be had.
The child gets no secrets, a process group of its own, as many threads as it was given cores (more are six times
slower), the GPUs that are least busy, and a polite SIGTERM when the search stops, upon which it saves. Nothing here
decides what is worth running.
"""

import json
import os
import signal
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import IO, Any

from diffusion.distill.plan import DistillJob
from diffusion.settings import PaceJob, ScoreJob, TrainJob
from diffusion.training.child import STOPPED
from memory.redaction import holds_secret, redact
from tools.errors import Interrupted, JobFailed
from tools.executors.base import OnProgress
from tools.executors.launch import Device, launch_command, launch_environment
from tools.executors.machine import visible_gpus
from tools.executors.warm import ServerLost, WarmJob, begin

STOP_POLL_SECONDS = 0.2
SPIN_COUNT = "1000"  # idle threads soon sleep: 1.1 times slower alone, 38 times faster beside others (docs/log.md)
STDERR_LINES = 40  # enough of a traceback, or of a launcher's report, to name the reason
LAUNCHER_SIGNAL = "Signal "  # how torch's launcher begins to say that a signal ended a process

KEYS: dict[str | None, tuple[str, ...]] = {"wandb": ("WANDB_API_KEY",)}  # for the tracker that was asked for alone

Child = subprocess.Popen[str] | WarmJob


class LocalExecutor:
    """Runs each job in a child process of its own; several threads may ask for jobs at once."""

    def __init__(self, stop: Event, *, is_warm: bool = True) -> None:
        self.stop, self.is_warm = stop, is_warm
        self.children: set[Child] = set()
        self.gpus = Gpus(visible_gpus())

    def train(self, job: TrainJob, on_progress: OnProgress) -> dict[str, Any]:
        """See `tools.context.Executor`."""
        return self._run("diffusion.training.job", job.run_folder / "job.json", job.model_dump_json(), on_progress)

    def evaluate(self, job: ScoreJob, on_progress: OnProgress) -> dict[str, Any]:
        """See `tools.context.Executor`."""
        return self._run("diffusion.scores.job", job.run_folder / "score-job.json", job.model_dump_json(), on_progress)

    def distill(self, job: DistillJob, on_progress: OnProgress) -> dict[str, Any]:
        """See `tools.executors.base.Distiller`."""
        return self._run("diffusion.distill.job", job.run_folder / "job.json", job.model_dump_json(), on_progress)

    def pace(self, job: PaceJob) -> dict[str, Any]:
        """How fast a feature network is: the ``done`` line of `diffusion.scores.pace`."""
        path = job.run_folder / "pace.json"
        return self._run("diffusion.scores.pace", path, job.model_dump_json(), lambda event: None)

    def kill(self) -> None:
        """End the children at once; what their last checkpoints hold is kept. No lock is taken: a signal may call."""
        for child in list(self.children):
            child.kill()

    def _run(self, module: str, path: Path, job: str, on_progress: OnProgress) -> dict[str, Any]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(job)
        asked = json.loads(job)
        processes, keys = asked.get("processes", 1), KEYS.get(asked.get("running", {}).get("log_with"), ())
        with self.gpus.taken(processes) as gpus:
            environment = child_environment(str(asked["threads"]), gpus, keys)
            start = Start(module, path, processes, "cuda" if gpus else "cpu", environment)
            if self.is_warm and processes == 1:
                with suppress(ServerLost):  # the job was told to save, and goes on from there
                    return self._followed(start, on_progress, is_warm=True)
            return self._followed(start, on_progress)

    def _followed(self, start: "Start", on_progress: OnProgress, *, is_warm: bool = False) -> dict[str, Any]:
        """Start a job and hand its progress on; its ``done`` line."""
        if self.stop.is_set():
            raise Interrupted
        with self._begun(start, is_warm) as child:
            assert child.stdout and child.stderr
            errors = Tail(child.stderr, start.path.with_suffix(".log"))
            done = read_lines(child.stdout, on_progress)
            code = child.wait()
            errors.join()
        by_signal = code == STOPPED or code < 0 or start.processes > 1  # a launcher has codes of its own
        return outcome(done, code, errors, self.stop.is_set() and by_signal)

    @contextmanager
    def _begun(self, start: "Start", is_warm: bool) -> Iterator[Child]:
        """The child, known to `kill` and told of a stop for as long as it lives."""
        warm = start.warm(child_environment("1"), self.stop) if is_warm else None
        with warm or start.fresh() as child:
            self.children.add(child)
            Thread(target=self._watch, args=(child,), daemon=True).start()
            try:
                yield child
            finally:
                self.children.discard(child)

    def _watch(self, child: Child) -> None:
        """Pass the user's stop on to the child."""
        while child in self.children:
            if self.stop.wait(STOP_POLL_SECONDS):
                child.terminate()
                return


@dataclass(frozen=True)
class Start:
    """How a job becomes a process: what runs, where its file lies, on what, and what it may know."""

    module: str
    path: Path
    processes: int
    device: Device
    for_one: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """What its processes find in their environment."""
        return self.for_one | launch_environment(self.processes, self.device)

    def warm(self, base: dict[str, str], stop: Event) -> WarmJob | None:
        """It as a fork of the server whose environment is `base`, if there can be one."""
        return begin(self.module, self.path, self.environment, base, stop)

    def fresh(self) -> "subprocess.Popen[str]":
        """It as a new process, or several."""
        return subprocess.Popen(
            launch_command(self.module, self.path, self.processes, self.device),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            start_new_session=True,
        )


class Gpus:
    """Hands out the GPUs that are least busy; with more jobs than GPUs several small ones share one."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.jobs, self.lock = dict.fromkeys(names, 0), Lock()

    @contextmanager
    def taken(self, count: int) -> Iterator[list[str]]:
        """So many GPUs for one job, by their names; none where there are none."""
        with self.lock:
            chosen = sorted(self.jobs, key=lambda name: self.jobs[name])[:count]
            self._add(chosen, 1)
        try:
            yield chosen
        finally:
            with self.lock:
                self._add(chosen, -1)

    def _add(self, names: list[str], jobs: int) -> None:
        for name in names:
            self.jobs[name] += jobs


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
        """The last line that says something; of a launcher's report the one about the process that ended first."""
        signals = [line.strip() for line in self.lines if LAUNCHER_SIGNAL in line]
        if signals:
            return signals[-1][signals[-1].index(LAUNCHER_SIGNAL) :]
        return next((line.strip() for line in reversed(self.lines) if line.strip()), "it said nothing")


def outcome(done: dict[str, Any], code: int, errors: "Tail", stopped: bool) -> dict[str, Any]:
    """The ``done`` line of a child that has ended, `stopped` by the user or not.

    Raises:
        JobFailed: it has no result, with the reason.
        Interrupted: it was stopped.
    """
    if code == 0 and done.get("event") == "done":
        return done
    if stopped:
        raise Interrupted
    if done.get("event") == "failed":
        raise JobFailed(redact(done["reason"]))
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (the system's memory may not suffice)" if name == "SIGKILL" else ""
        raise JobFailed(f"the process was ended by {name}{hint}")
    raise JobFailed(redact(f"the process ended with exit code {code}: {errors.last()}"))


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
        if event.get("event") in ("progress", "note", "curve"):
            on_progress(event)
        elif event.get("event") in ("done", "failed"):
            last = event
    return last


def _wanted(name: str, keys: tuple[str, ...]) -> bool:
    """Whether a child needs a secret: a tracker's key, and the proxy on the way to the tracker."""
    return name in keys or bool(keys and name.lower().endswith("_proxy"))


def child_environment(threads: str, gpus: list[str] | None = None, keys: tuple[str, ...] = ()) -> dict[str, str]:
    """The environment without secrets but these `keys`, with the threads and GPUs that were handed out."""
    kept = {name: value for name, value in os.environ.items() if not holds_secret(name, value) or _wanted(name, keys)}
    return (
        {"GOMP_SPINCOUNT": SPIN_COUNT}
        | kept
        | {
            "OMP_NUM_THREADS": threads,
            "PYTHONSAFEPATH": "1",  # a file named like ours in the user's folder is not imported
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "DISABLE_TELEMETRY": "1",
        }
        | ({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {})
    )
