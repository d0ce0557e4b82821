"""Real jobs without a process of their own: the same `diffusion.training.job` and `diffusion.scores.job`, called here.

Tests of the agent train real (tiny) networks this way without paying seconds of imports for each job, nor for the
features of the real images, which depend on nothing but the images and the network: their files' names say so. One
thread computes, whatever share of the machine a job was given: a test runs beside it, and threads that wait for a core
spin, which made a step cost ten times as much.
"""

import io
import json
from collections.abc import Callable
from typing import Any

from diffusion.distill.job import distill
from diffusion.distill.plan import DistillJob
from diffusion.errors import TrainingFailed, UserError
from diffusion.scores.job import evaluate
from diffusion.settings import ScoreJob, TrainJob
from diffusion.training.child import Lines
from diffusion.training.job import train
from tools.errors import JobFailed

AnyJob = TrainJob | ScoreJob | DistillJob
OnProgress = Callable[[dict[str, Any]], None]
REFERENCES: dict[str, bytes] = {}  # by the name of their file


class Never:
    """Nobody asks for a stop."""

    asked = False


class InProcessExecutor:
    """An executor that counts its jobs; `fail` names specs whose training is to fail."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.evaluated = 0

    def train(self, job: TrainJob, on_progress: OnProgress) -> dict[str, Any]:
        self.trained.append(str(job.spec))
        return self._run(train, job, on_progress)

    def evaluate(self, job: ScoreJob, on_progress: OnProgress) -> dict[str, Any]:
        self.evaluated += 1
        job.cache_folder.mkdir(parents=True, exist_ok=True)
        for name, content in REFERENCES.items():
            (job.cache_folder / name).write_bytes(content)
        done = self._run(evaluate, job, on_progress)
        REFERENCES.update(
            {path.name: path.read_bytes() for path in job.cache_folder.iterdir() if path.suffix != ".lock"}
        )
        return done

    def distill(self, job: DistillJob, on_progress: OnProgress) -> dict[str, Any]:
        return self._run(distill, job, on_progress)

    def kill(self) -> None:
        """Nothing to kill."""

    def _run(self, work: Callable[..., bool], job: AnyJob, on_progress: OnProgress) -> dict[str, Any]:
        stream = io.StringIO()
        try:
            work(job.model_copy(update={"threads": 1}).model_dump_json(), Lines(stream), Never())
        except (TrainingFailed, UserError) as error:
            raise JobFailed(str(error)) from error
        events = [json.loads(line) for line in stream.getvalue().splitlines()]
        for event in events:
            if event["event"] in ("progress", "note", "curve"):
                on_progress(event)
        return next(event for event in events if event["event"] == "done")
