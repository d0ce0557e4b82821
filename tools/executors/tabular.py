"""A table of trained networks as the executor: each job is a look-up, so a search takes seconds and no device.

The seed of a job counts from the search's: the first training of a spec has the search's own seed, a replica the next.
Which of the table's trainings that is, is drawn anew for each network from the seed of the search, so searches differ
in their noise as they would if they trained. Nothing is written into run folders: there are no weights.
"""

from threading import Event
from typing import Any

from diffusion.settings import ScoreJob, TrainJob
from diffusion.spec import UNetSpec
from diffusion.unetbench.table import NoResult, Shown, Table
from tools.errors import Interrupted, JobFailed
from tools.executors.base import OnProgress
from tools.executors.machine import Machine, Node

ONE_AT_A_TIME = Machine((Node(1),), "a table")  # beside others a proposal would see less, and no time is won


class TabularExecutor:
    """Looks jobs up; several threads may ask at once."""

    def __init__(self, table: Table, search_seed: int, stop: Event) -> None:
        self.table, self.search_seed, self.stop = table, search_seed, stop

    def train(self, job: TrainJob, on_progress: OnProgress) -> dict[str, Any]:
        """See `tools.executors.base.Executor`."""
        if job.last_step not in self.table.steps:
            raise JobFailed(f"the table {self.table.name} has no training of {job.last_step} steps")
        found = self._shown(job.spec, job.last_step, job.seed)
        return {"event": "done", "step": found.step, "loss": found.loss, "device_seconds": found.train_seconds}

    def evaluate(self, job: ScoreJob, on_progress: OnProgress) -> dict[str, Any]:
        """See `tools.executors.base.Executor`; a training's images have its own seed."""
        step = self.table.fingerprints.get(job.protocol.fingerprint)
        if step is None or job.spec is None:
            raise JobFailed(f"the table {self.table.name} has no scores under the protocol {job.protocol.fingerprint}")
        found = self._shown(job.spec, step, job.sampling_seed)
        return {
            "event": "done",
            "step": step,
            "metric": job.protocol.score.metric,
            "value": found.score,
            "num_images": job.protocol.score.num_images,
            "device_seconds": found.score_seconds,
        }

    def kill(self) -> None:
        """Nothing runs."""

    def _shown(self, spec: UNetSpec, step: int, seed: int) -> Shown:
        if self.stop.is_set():
            raise Interrupted
        try:
            return self.table.shown(spec, step, search_seed=self.search_seed, number=seed - self.search_seed)
        except NoResult as nothing:
            raise JobFailed(str(nothing)) from nothing
