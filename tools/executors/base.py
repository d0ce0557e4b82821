"""Who runs the jobs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from diffusion.settings import ScoreJob, TrainJob

if TYPE_CHECKING:
    from diffusion.distill.plan import DistillJob

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


@runtime_checkable
class Distiller(Protocol):
    """An executor that can also look for what is left of a teacher; a table cannot."""

    def distill(self, job: "DistillJob", on_progress: OnProgress) -> dict[str, Any]:
        """Search; the ``done`` line of `diffusion.distill.job`. Raises as `Executor.train` does."""
