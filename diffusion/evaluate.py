"""``python -m diffusion.evaluate --job job.json``: sample from a finished training and score it, in its own process.

Lines: ``progress`` {images, total_images} and ``done`` {value, metric, step, num_images, device_seconds, grid}. The
score file ``score-FINGERPRINT-SEED.json`` in the run folder holds the last one; a score that is there is not taken
again. One that was not finished leaves nothing behind.
"""

import json
import math
import sys
import time

from diffusion.checkpoint import ema_model, newest_checkpoint, write_json
from diffusion.child import Lines, Stop, locked, run_child
from diffusion.data import open_images
from diffusion.errors import TrainingFailed
from diffusion.settings import ScoreJob

GRID_IMAGES = 100


class Stopped(Exception):
    """The parent asked for an end while images were being sampled."""


def evaluate(text: str, lines: Lines, stop: Stop) -> bool:
    """Score one training under one protocol with one sampling seed."""
    job = ScoreJob.model_validate_json(text)
    path = job.run_folder / f"score-{job.protocol.fingerprint}-{job.sampling_seed}.json"
    with locked(job.run_folder):
        if not path.exists():
            try:
                write_json(path, measure(job, lines, stop))
            except Stopped:
                return False
        lines.emit("done", **json.loads(path.read_text()))
    return True


def measure(job: ScoreJob, lines: Lines, stop: Stop) -> dict[str, object]:
    """Sample, extract features, compare with the reference statistics; the score as JSON-ready values."""
    import torch
    from accelerate import Accelerator

    from diffusion.fid import extract_features, feature_statistics, frechet_distance, reference_statistics
    from diffusion.sample import ddim_sample, save_grid

    torch.set_num_threads(job.threads)
    started, protocol, device = time.monotonic(), job.protocol, Accelerator().device
    checkpoint = newest_checkpoint(job.run_folder)
    if checkpoint is None or checkpoint.step != protocol.strategy.train_steps:
        raise TrainingFailed(f"{job.run_folder} holds no checkpoint of step {protocol.strategy.train_steps} to score")

    def progress(done: int) -> None:
        lines.emit("progress", images=done, total_images=protocol.score.num_images)
        if stop.asked:
            raise Stopped

    images = ddim_sample(
        ema_model(checkpoint),
        protocol.settings,
        diffusion_steps=protocol.strategy.diffusion_steps,
        sampling_steps=protocol.score.sampling_steps,
        num_images=protocol.score.num_images,
        seed=job.sampling_seed,
        device=device,
        on_progress=progress,
    )
    network = protocol.score.feature_network
    data = open_images(job.data_folder, protocol.data_fingerprint)
    split = data.train if protocol.score.reference_split == "train" else data.test
    assert split is not None, "the protocol names a split that the data set lacks"
    reference = reference_statistics(
        split, network, job.cache_folder, protocol.data_fingerprint, protocol.score.reference_split
    )
    value = frechet_distance(feature_statistics(extract_features(images, network, device=str(device))), reference)
    if not math.isfinite(value):
        raise TrainingFailed(f"the score is {value}: the images of this network have no usable features")
    grid = job.run_folder / f"samples-{protocol.fingerprint}-{job.sampling_seed}.png"
    save_grid(images[:GRID_IMAGES], grid)
    return {
        "value": value,
        "metric": protocol.score.metric,
        "step": checkpoint.step,
        "num_images": len(images),
        "device_seconds": time.monotonic() - started,
        "grid": str(grid),
    }


if __name__ == "__main__":
    sys.exit(run_child(evaluate))
