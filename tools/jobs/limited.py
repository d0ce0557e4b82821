"""An executor that keeps a search's allowance in hours."""

from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

from diffusion.cost.closed_form import cost
from diffusion.distill.plan import DistillJob
from diffusion.settings import ScoreJob, TrainJob
from memory.ledger import seconds_per_mac
from tools.allowance import Allowance
from tools.errors import AllowanceSpent, Interrupted, JobFailed
from tools.executors.base import Distiller

if TYPE_CHECKING:
    from tools.executors.base import Executor


Job = Literal["train", "score"]


class WithinAllowance:
    """An executor that begins no job which would not end within the hours, and ends those that run over them."""

    def __init__(self, executor: "Executor", allowance: Allowance, stop: Event) -> None:
        self.executor, self.allowance, self.stop = executor, allowance, stop

    def train(self, job: TrainJob, on_progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """See `tools.context.Executor`; raises `AllowanceSpent` besides."""
        macs = _macs(job.spec, job.settings) * job.strategy.batch_size * job.last_step
        return self._watched(self.executor.train, job, on_progress, "train", macs)

    def evaluate(self, job: ScoreJob, on_progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """See `tools.context.Executor`; raises `AllowanceSpent` besides."""
        score = job.protocol.score
        macs = _macs(job.spec, job.protocol.settings) * score.num_images * score.sampling_steps
        return self._watched(self.executor.evaluate, job, on_progress, "score", macs)

    def distill(self, job: DistillJob, on_progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """See `tools.executors.base.Distiller`; how long it takes is not foretold. Raises `AllowanceSpent` besides."""
        if not isinstance(self.executor, Distiller):
            raise JobFailed("a table has no weights that a student could be made of")
        return self._watched(self.executor.distill, job, on_progress, "train", 0)

    def kill(self) -> None:
        """See `tools.context.Executor`."""
        self.executor.kill()

    def _watched(
        self, run: Callable[..., dict[str, Any]], job: Any, on_progress: Callable[..., None], kind: Job, macs: int
    ) -> dict[str, Any]:
        allowance = self.allowance
        if allowance.limits.max_hours is None:
            return run(job, on_progress)
        pace = seconds_per_mac(allowance.memory.db, allowance.search, kind)
        allowance.check_before_training(pace * macs)

        def tell(event: dict[str, Any]) -> None:
            on_progress(event)
            try:
                allowance.check_before_training(0.0)
            except AllowanceSpent:
                self.stop.set()  # the job saves and ends; so do the others

        try:
            return run(job, tell)
        except Interrupted:
            if allowance.why:
                raise AllowanceSpent(allowance.why) from None
            raise


def _macs(spec: Any, settings: Any) -> int:
    return cost(spec, settings.family, settings.resolution, settings.channels).macs.total
