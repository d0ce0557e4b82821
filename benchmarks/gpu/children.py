"""Trainings and scores as processes of their own, as a search starts them, each line they say with its moment."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from diffusion.settings import ScoreJob, TrainJob

ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.02
SPIN_COUNT = "1000"  # as a search starts its jobs: idle threads soon sleep, and leave the cores to the others
TRAIN, SCORE = "diffusion.training.job", "diffusion.scores.job"


class Child:
    """A job under way: `lines` grow while it speaks."""

    def __init__(self, module: str, job: TrainJob | ScoreJob, device: str) -> None:
        job.run_folder.mkdir(parents=True, exist_ok=True)
        path, self.log = job.run_folder / f"{module}.json", job.run_folder / f"{module}.log"
        path.write_text(job.model_dump_json())
        environment = {
            "OMP_NUM_THREADS": str(job.threads), "GOMP_SPINCOUNT": SPIN_COUNT, "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        if device == "cpu":
            environment["ACCELERATE_USE_CPU"] = "true"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "--job", str(path)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=os.environ | environment,
            )
        self.lines: list[tuple[float, dict[str, Any]]] = []  # monotonic seconds, and what was said
        self.reader = Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):
                self.lines.append((time.monotonic(), json.loads(line)))

    def said(self, event: str) -> list[tuple[float, dict[str, Any]]]:
        """The lines of one kind so far."""
        return [(at, line) for at, line in list(self.lines) if line["event"] == event]

    @property
    def step(self) -> int:
        """The last step that was reported."""
        found = self.said("progress")
        return int(found[-1][1]["step"]) if found else 0

    def wait_for_step(self, step: int, until: float) -> None:
        """Until it reports that step, or ends.

        Raises:
            TimeoutError: not before `until` (monotonic).
        """
        while self.step < step and self.process.poll() is None:
            if time.monotonic() > until:
                raise TimeoutError(f"step {step} was not reached in time, only {self.step}")
            time.sleep(POLL_SECONDS)

    def done(self, until: float) -> dict[str, Any]:
        """Its result, when it has ended.

        Raises:
            RuntimeError: it has none; with the reason.
            subprocess.TimeoutExpired: it has not ended before `until` (monotonic).
        """
        self.process.wait(max(0.0, until - time.monotonic()))
        self.reader.join()
        if found := self.said("done"):
            return found[-1][1]
        reasons = [line["reason"] for _, line in self.said("failed")]
        raise RuntimeError(reasons[-1] if reasons else f"exit code {self.process.returncode}: {_last_line(self.log)}")

    def end(self, kill: bool) -> None:
        """End it with SIGKILL, or with the SIGTERM upon which it saves."""
        (self.process.kill if kill else self.process.terminate)()
        self.process.wait()
        self.reader.join()


@contextmanager
def started(module: str, job: TrainJob | ScoreJob, device: str) -> Iterator[Child]:
    """A child that does not outlive the block."""
    child = Child(module, job, device)
    try:
        yield child
    finally:
        child.end(kill=True)


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text().splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
