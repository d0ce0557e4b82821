"""``python -m diffusion.train --job job.json``: one training in its own process, resumed from its newest checkpoint.

Lines: ``progress`` {step, total_steps, loss, images_per_second, eta_seconds} and ``done`` {step, loss,
device_seconds}. ``result.json`` in the run folder holds the last one and exists only after a real end.
"""

import json
import math
import sys
import time

from diffusion.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint, save_snapshot, write_json
from diffusion.child import Lines, Stop, locked, run_child
from diffusion.data import open_images
from diffusion.errors import TrainingFailed
from diffusion.settings import TrainJob
from diffusion.trainer import StepReport, Trainer

RESULT = "result.json"
LOSS_SMOOTHING = 0.9  # the loss that is shown is an average over about ten logged values


def train(text: str, lines: Lines, stop: Stop) -> bool:
    """Train one spec to the end of its strategy, or to the step at which it is asked to stop."""
    job = TrainJob.model_validate_json(text)
    with locked(job.run_folder):
        found = newest_checkpoint(job.run_folder)
        if found and found.job.key != job.key:
            raise TrainingFailed(
                f"'{job.run_folder}' holds weights of another training, of {found.job.spec} to step {found.step}; "
                "move the folder away and train again"
            )
        result = job.run_folder / RESULT
        if found and found.step == job.strategy.train_steps and result.exists():
            lines.emit("done", **json.loads(result.read_text()))
            return True
        return Run(job, lines, found).go(stop)


class Run:
    """One process's part of a training: progress lines, checkpoints and the result."""

    def __init__(self, job: TrainJob, lines: Lines, found: Checkpoint | None) -> None:
        import torch
        from accelerate import Accelerator

        self.job, self.lines = job, lines
        torch.set_num_threads(found.job.threads if found else job.threads)  # another number gives other last bits
        images = open_images(job.data_folder, job.data_fingerprint).train
        self.trainer = Trainer(job, images, Accelerator())
        self.loss = math.nan
        self.seconds_before = 0.0
        if found:
            self.trainer.restore(dict(found.tensors), found.step)
            self.seconds_before = found.seconds
        self.first_step, self.started = self.trainer.step, time.monotonic()

    @property
    def device_seconds(self) -> float:
        """Seconds of training so far, earlier processes included."""
        return self.seconds_before + time.monotonic() - self.started

    def go(self, stop: Stop) -> bool:
        """The loop over the steps; whether the last one was reached."""
        job, total = self.job, self.job.strategy.train_steps
        for report in self.trainer.steps():
            if report.step % job.log_steps == 0 or report.step == total:
                self.report(report)
            stopped = stop.asked and report.step < total
            if report.step in job.snapshot_steps:
                save_snapshot(job.run_folder, self.checkpoint(report))
            if stopped or report.step == total or report.step % job.checkpoint_steps == 0:
                save_checkpoint(job.run_folder, self.checkpoint(report))
            if stopped:
                return False
        self.finish()
        return True

    def report(self, report: StepReport) -> None:
        """Say how far it is; reading the loss is the only moment that waits for the device."""
        loss = self._finite(report)
        self.loss = loss if math.isnan(self.loss) else LOSS_SMOOTHING * self.loss + (1 - LOSS_SMOOTHING) * loss
        seconds_a_step = (time.monotonic() - self.started) / (report.step - self.first_step)
        total = self.job.strategy.train_steps
        self.lines.emit(
            "progress",
            step=report.step,
            total_steps=total,
            loss=self.loss,
            images_per_second=self.job.strategy.batch_size / seconds_a_step,
            eta_seconds=(total - report.step) * seconds_a_step,
        )

    def checkpoint(self, report: StepReport) -> Checkpoint:
        """The state after this step; a broken one is never handed out to be written."""
        self._finite(report)
        tensors = self.trainer.tensors()
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise TrainingFailed(f"the weights are not finite after step {report.step}; a lower learning rate may help")
        return Checkpoint(self.job, report.step, self.device_seconds, tensors)

    def finish(self) -> None:
        """Write the result, the mark of a training that reached its end."""
        result = {
            "step": self.trainer.step,
            "loss": None if math.isnan(self.loss) else self.loss,
            "device_seconds": self.device_seconds,
        }
        write_json(self.job.run_folder / RESULT, result)
        self.lines.emit("done", **result)

    def _finite(self, report: StepReport) -> float:
        loss = float(report.loss)
        if not math.isfinite(loss):
            raise TrainingFailed(f"the loss is {loss} at step {report.step}; a lower learning rate may help")
        return loss


if __name__ == "__main__":
    sys.exit(run_child(train))
