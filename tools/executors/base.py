"""Who runs the jobs."""

from collections.abc import Callable
from typing import Any, Protocol

from diffusion.settings import ScoreJob, TrainJob

OnProgress = Callable[[dict[str, Any]], None]


class Executor(Protocol):
    """Who runs the jobs: this machine, a cluster, or a table of results. Several threads may ask for jobs at once."""

    def train(self, job: TrainJob, on_progress: OnProgress) -> dict[str, Any]:
        """Train to the end; the ``done`` line of `diffusion.training.job`.

        Raises:
            JobFailed: the job ended without a result.
            Interrupted: the user stopped it.
        """

    def evaluate(self, job: ScoreJob, on_progress: OnProgress) -> dict[str, Any]:
        """Score a finished training; the ``done`` line of `diffusion.scores.job`. Raises as `train` does."""

    def kill(self) -> None:
        """End every job at once; what their last checkpoints hold is kept."""
