"""``python -m diffusion.training.job --job job.json``: one training in its own process, resumed from its newest
checkpoint.

Lines: ``progress`` {step, total_steps, loss, images_per_second, eta_seconds, flops_per_second, peak_share} (the last
null where the machine's peak was never measured), ``curve`` {points: [[step, loss], …]}, of which some may be said
again, ``note`` {text} and ``done`` {step, loss, device_seconds}.
``result.json`` in the run folder holds the last one and exists only after a real end, not after a job's `until_step`.

Several processes share each batch when a launcher of torch's starts them (`tools.executors.launch`, docs/scaling.md).
The first one holds the run folder, saves and speaks; all read the folder, also on several machines. They end at the
same step.
"""

import json
import math
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from diffusion.cost.closed_form import cost
from diffusion.cost.peak_memory import fitting_micro_batch_size, free_bytes
from diffusion.cost.throughput import Speed, matmul_peak
from diffusion.data.images import open_images
from diffusion.errors import TrainingFailed
from diffusion.settings import CODE_VERSION, TrainJob
from diffusion.training.checkpoint import (
    Checkpoint,
    drop_torn_files,
    newest_checkpoint,
    save_checkpoint,
    save_snapshot,
    write_json,
)
from diffusion.training.child import Lines, Place, Stop, end_process, locked, run_child
from diffusion.training.compilation import cache_of_its_own
from diffusion.training.curve import LossCurve, tell_again
from diffusion.training.network import macs_of
from diffusion.training.team import Team
from diffusion.training.trainer import StepReport, Trainer

if TYPE_CHECKING:
    from accelerate import Accelerator

RESULT = "result.json"
AGREEMENT_STEPS = 8  # between two questions whether any process was asked to stop


def train(text: str, lines: Lines, stop: Stop) -> bool:
    """Train one spec to the end of its strategy, or to the step at which it is asked to stop."""
    job = TrainJob.model_validate_json(text)
    is_first = Place.here().rank == 0
    with locked(job.run_folder) if is_first else nullcontext():
        if is_first:
            drop_torn_files(job.run_folder)
        team = Team()  # the processes meet here, when the first one holds the folder
        found = resumable(job)
        result = job.run_folder / RESULT
        if found and found.step == job.strategy.train_steps and result.exists():
            tell_again(lines, found.curve)
            lines.emit("done", **json.loads(result.read_text()))
            return True
        with cache_of_its_own(job.run_folder / f"compiled-{Place.here().rank}"):
            run = Run(job, lines, found, team)
            del found  # a second copy of all weights
            return run.go(stop)


def resumable(job: TrainJob) -> Checkpoint | None:
    """The checkpoint that a job goes on from.

    Raises:
        TrainingFailed: what lies in the run folder is of another training or of another version of the code.
    """
    found = newest_checkpoint(job.run_folder)
    if found and found.code_version != CODE_VERSION:
        raise TrainingFailed(
            f"'{job.run_folder}' holds weights that version {found.code_version} of the training code wrote and this "
            f"is version {CODE_VERSION}; go on with that version, or move the folder away and train again"
        )
    if found and found.job.key != job.key:
        raise TrainingFailed(
            f"'{job.run_folder}' holds weights of another training, of {found.job.spec} to step {found.step}; "
            "move the folder away and train again"
        )
    return found


class Run:
    """One process's part of a training: progress lines, checkpoints and the result."""

    def __init__(self, job: TrainJob, lines: Lines, found: Checkpoint | None, team: Team | None = None) -> None:
        import torch

        self.lines, self.team = lines, team or Team()
        self._check_processes(job, found)
        self.job = job.going_on_from(found.job) if found else self._fitted(job)
        torch.set_num_threads(self.job.threads)  # another number gives other last bits
        images = open_images(job.data_folder, job.data_fingerprint).train
        self.accelerator = accelerator(self.job)
        self.trainer = Trainer(self.job, images, self.accelerator)
        self.curve = found.curve if found else LossCurve()
        self.seconds_before = 0.0
        if found:
            tell_again(lines, self.curve)
            self.trainer.restore(dict(found.tensors), found.step)
            self.seconds_before = found.seconds
        elif self.team.device.type == "cuda":
            self.settle_micro_batch()
        self.speed = self._speed()
        self.started = time.monotonic()
        self.clock_step, self.clock_started = self.trainer.step, self.started

    @property
    def device_seconds(self) -> float:
        """Seconds of training so far, of all processes together, earlier ones included."""
        return self.seconds_before + (time.monotonic() - self.started) * self.team.count

    def go(self, stop: Stop) -> bool:
        """The loop over the steps; whether the last one of the job was reached."""
        job, end = self.job, self.job.last_step
        for report in self.trainer.steps():
            if self.job.compiled and report.step == self.clock_step + 1:
                self.clock_step, self.clock_started = report.step, time.monotonic()  # compiling is no pace
            if report.step % job.log_steps == 0 or report.step == end:
                self.report(report)
            stopped = self._stop_agreed(stop, report.step) and report.step < end
            self.save(report, stopped or report.step == end or report.step % job.running.checkpoint_steps == 0)
            if stopped:
                self.team.wait()
                return False
        self.finish()
        return True

    def report(self, report: StepReport) -> None:
        """Say how far it is; reading the loss is the only moment that waits for the device."""
        loss, steps = self._finite(report), self.job.strategy.train_steps
        point = self.curve.add(report.step, loss, train_steps=steps, log_steps=self.job.log_steps)
        seconds_a_step = (time.monotonic() - self.clock_started) / max(1, report.step - self.clock_step)
        found = {
            "loss": loss if self.curve.smoothed is None else self.curve.smoothed,
            "images_per_second": self.job.strategy.batch_size / seconds_a_step,
            "eta_seconds": (self.job.last_step - report.step) * seconds_a_step,
            "flops_per_second": self.speed.flops_per_second(seconds_a_step),
            "peak_share": self.speed.peak_share(seconds_a_step),
        }
        self.lines.emit("progress", step=report.step, total_steps=steps, **found)
        if point:
            self.lines.emit("curve", points=[point])
        if self.job.running.log_with:
            values = {name: value for name, value in found.items() if value is not None}
            self.accelerator.log(values | {"loss": loss}, step=report.step)  # trackers smooth by themselves

    def save(self, report: StepReport, is_due: bool) -> None:
        """Write the snapshot and the checkpoint of this step, where they are due."""
        is_wanted = report.step in (self.job.running.snapshot_steps or ())
        if not (is_due or is_wanted):
            return
        checkpoint = self.checkpoint(report)
        if is_wanted and self.team.is_first:
            save_snapshot(self.job.run_folder, checkpoint)
        if is_due and self.team.is_first:
            save_checkpoint(self.job.run_folder, checkpoint)

    def checkpoint(self, report: StepReport) -> Checkpoint:
        """The state after this step, to be written before the next; a broken one is never handed out."""
        self._finite(report)
        if not self.trainer.is_finite():
            raise TrainingFailed(f"the weights are not finite after step {report.step}; a lower learning rate may help")
        tensors = {name: tensor.cpu() for name, tensor in self.trainer.state().items()} if self.team.is_first else {}
        return Checkpoint(self.job, report.step, self.device_seconds, tensors, curve=self.curve)

    def finish(self) -> None:
        """Say what came of it; the file is the mark of a training that reached its end."""
        result = {
            "step": self.trainer.step,
            "loss": self.curve.smoothed,
            "device_seconds": self.device_seconds,
        }
        if self.team.is_first and self.trainer.step == self.job.strategy.train_steps:
            write_json(self.job.run_folder / RESULT, result)
        self.team.wait()
        if self.job.running.log_with:
            self.accelerator.end_training()
        self.lines.emit("done", **result)

    def settle_micro_batch(self) -> None:
        """Halve the micro batch until a step finds the memory that it needs.

        Raises:
            TrainingFailed: one image is too much.
        """
        while self.team.any(not self._has_memory()):
            images = min(self.trainer.micro_batch_size, self.job.largest_share)
            if images == 1:
                raise TrainingFailed(f"out of memory: {self.job.spec} does not fit even one image at a time")
            self._divide(self.job, images // 2)
            self.trainer.micro_batch_size = images // 2

    def _has_memory(self) -> bool:
        import torch

        try:
            self.trainer.dry_step()
        except torch.OutOfMemoryError:
            return False
        finally:
            if self.team.device.type == "cuda":
                torch.cuda.empty_cache()
        return True

    def _fitted(self, job: TrainJob) -> TrainJob:
        """The job with as many images at once as the estimate lets into the free memory.

        Raises:
            TrainingFailed: one image is too much.
        """
        if job.micro_batch_size is not None:
            return job
        settings = job.settings
        known = cost(job.spec, settings.family, settings.resolution, settings.channels)
        device = self.team.device
        free = free_bytes(device, job.processes)
        images = fitting_micro_batch_size(job, known, free, "cuda" if device.type == "cuda" else "cpu") or 0
        if self.team.any(images == 0):
            raise TrainingFailed(f"out of memory: {job.spec} does not fit even one image at a time, by the estimate")
        if not self.team.any(images < job.largest_share):
            return job
        return self._divide(job, images)

    def _divide(self, job: TrainJob, images: int) -> TrainJob:
        self.job = job.model_copy(update={"micro_batch_size": images})
        self.lines.emit("note", text=f"memory suffices for {images} images at once; batches are taken in pieces")
        return self.job

    def _check_processes(self, job: TrainJob, found: Checkpoint | None) -> None:
        """Every batch has to be shared as it was asked for, and all processes start from one step."""
        if self.team.count != job.processes:
            raise TrainingFailed(
                f"this training was asked for with {job.processes} processes and runs with {self.team.count}; "
                f"start it as `python -m torch.distributed.run --standalone --nproc_per_node {job.processes}`"
            )
        step = found.step if found else 0
        if self.team.any(self.team.sum(step) != step * self.team.count):
            raise TrainingFailed(
                f"the processes of this training find other checkpoints in '{job.run_folder}', this one step {step}; "
                "give all machines one shared folder"
            )
        if found and found.job.processes != job.processes:
            self.lines.emit(
                "note",
                text=f"begun with {found.job.processes} processes, goes on with {job.processes}: "
                "batches are the same, the last bits of the weights are not",
            )

    def _stop_agreed(self, stop: Stop, step: int) -> bool:
        """Whether to stop after this step; several processes ask each other every few steps."""
        asked = stop.asked or not self.lines.is_heard
        if self.team.count == 1:
            return asked
        return step % AGREEMENT_STEPS == 0 and self.team.any(asked)

    def _speed(self) -> Speed:
        job = self.job
        device = str(self.team.device) if self.team.device.type == "cuda" else "cpu"
        measures = job.measures_peak and self.team.is_first
        peak = matmul_peak(device, job.threads, job.precision, job.data_folder, measure=measures)
        self.team.wait()  # while it was measured the others kept still
        return Speed(macs_of(job), job.strategy.batch_size, peak and peak * self.team.count)

    def _finite(self, report: StepReport) -> float:
        loss = self.team.mean(report.loss)
        if not math.isfinite(loss):
            raise TrainingFailed(f"the loss is {loss} at step {report.step}; a lower learning rate may help")
        return loss


def accelerator(job: TrainJob) -> "Accelerator":
    """What computes a job: its precision, and gradients that lie where the processes exchange them."""
    from accelerate import Accelerator, DistributedDataParallelKwargs

    made = Accelerator(
        mixed_precision="bf16" if job.precision == "bf16" else "no",
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
        log_with=job.running.log_with,
        project_dir=job.run_folder / "logs" if job.running.log_with else None,
    )
    if job.running.log_with:
        told = {"spec": str(job.spec), "key": job.key, "seed": job.seed}
        one = {"name": f"{job.spec}-{job.key}", "resume": "allow"}  # a training that goes on is one run
        names = {"wandb": {**one, "id": job.key}, "trackio": one}
        made.init_trackers("diffnas-agent", told | job.strategy.model_dump(), names)
    return made


if __name__ == "__main__":
    end_process(run_child(train))
