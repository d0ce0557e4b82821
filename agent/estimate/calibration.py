"""How fast this machine is: two real steps of the baseline's training, in a folder that is thrown away.

Everything else is the closed form: a step of another spec takes as much longer as it has more MACs. Nothing is written
into the memory or the output folder.
"""

import time
from dataclasses import dataclass
from threading import Event
from typing import Any

from diffusion.cost.closed_form import BACKWARD_FACTOR
from diffusion.settings import TrainJob
from tools.executors.local import LocalExecutor

STEPS = 2  # of a process: the first one warms up, the second is the pace


@dataclass(frozen=True)
class Calibration:
    """What was measured: of one job, with all its processes together."""

    seconds_a_step: float
    seconds_to_start: float  # before the first step and after the last: imports, data, the checkpoint

    def training_seconds(self, steps: int, times_macs: float) -> float:
        """How long a training takes whose network has so many times the baseline's MACs."""
        return self.seconds_to_start + steps * self.seconds_a_step * times_macs

    def scoring_seconds(self, denoised: int, batch_size: int, times_macs: float) -> float:
        """How long a score takes with so many forward passes of one image, at the pace of the training."""
        return self.seconds_to_start + denoised * self.seconds_a_step * times_macs / (BACKWARD_FACTOR * batch_size)


def calibrate(job: TrainJob) -> Calibration:
    """Train two steps, as the search would.

    Raises:
        JobFailed: the baseline cannot be trained here at all.
    """
    paces: list[float] = []

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            paces.append(job.strategy.batch_size / event["images_per_second"])

    strategy = job.strategy.model_copy(update={"train_steps": 1 + STEPS})
    short = {"strategy": strategy, "log_steps": 1, "compiled": False, "measures_peak": False}
    running = job.running.model_copy(update={"snapshot_steps": None, "log_with": None})
    executor, one = LocalExecutor(Event()), job.model_copy(update={**short, "running": running})
    executor.train(one.model_copy(update={"until_step": 1}), tell)  # starts what all later jobs are forked from
    paces.clear()
    started = time.monotonic()
    executor.train(one, tell)
    elapsed = time.monotonic() - started
    stepping = paces[-1] * len(paces)  # a pace is the mean of the steps so far
    last = stepping - paces[-2] * (len(paces) - 1) if len(paces) > 1 else stepping
    return Calibration(last, max(0.0, elapsed - stepping))
