"""A network that is there already as a trial: nothing is trained, its weights count as those of the last step."""

from typing import TYPE_CHECKING

from diffusion.settings import TrainJob
from diffusion.spec import UNetSpec
from memory.connection import transaction
from memory.trainings import training_finished
from memory.trials import find_trial, trial_trained
from tools.context import SearchContext
from tools.errors import JobFailed
from tools.jobs.training import trial_of

if TYPE_CHECKING:
    from pathlib import Path


def adopt(context: SearchContext, spec: UNetSpec, reason: str) -> int:
    """The trial of the round, whose student is not retrained; it can be scored, sampled and exported like any other.

    Raises:
        JobFailed: its weights are not to be had, or cannot be written.
    """
    trial = trial_of(context, spec, reason, raw_text=str(spec))
    known = find_trial(context.db, trial)
    if known.state == "running":
        job, db = context.train_job(spec), context.db
        _write(job, known.run_folder)
        with transaction(db):
            steps = job.strategy.train_steps
            training_finished(db, known.training, steps_done=steps, loss=None, device_seconds=0.0)
            trial_trained(db, trial)
    return trial


def _write(job: TrainJob, folder: "Path") -> None:
    """The run folder of a training that is over, without a step of it."""
    from diffusion.errors import TrainingFailed
    from diffusion.training.checkpoint import Checkpoint, save_snapshot, write_json
    from diffusion.training.job import RESULT
    from diffusion.training.network import first_network

    steps = job.strategy.train_steps
    try:
        folder.mkdir(parents=True, exist_ok=True)
        weights = {f"ema.{name}": tensor.detach() for name, tensor in first_network(job).named_parameters()}
        save_snapshot(folder, Checkpoint(job, steps, 0.0, weights))
        write_json(folder / RESULT, {"step": steps, "loss": None, "device_seconds": 0.0})
    except TrainingFailed as error:
        raise JobFailed(str(error)) from None
