"""``python -m diffusion.scores.job --job job.json``: sample from a training and score it, in its own process.

Lines: ``progress`` {phase, images, total_images, eta_seconds}, where the phase is ``network`` (the feature network is
loaded), ``reference`` (features of real images that are not kept yet), ``sampling``, ``features`` or ``distance``, and
``done`` {value, metric, kid, kid_std, precision, recall, step, num_images, device_seconds, grid}. ``kid`` is a squared
MMD, not times 1,000; it, precision and recall look at no more than 10,000 images of each side
(`diffusion.scores.fidelity`). The score file ``score-FINGERPRINT-SEED.json`` in the run folder holds the last line; a
score that is there is not taken again. One that was not finished leaves no score behind, but the parts of what took
long (`diffusion.scores.parts`), with which it goes on, to the bit where weights, device and threads are the same.

Scored is the checkpoint or snapshot of the protocol's last training step, so that a snapshot of a longer training can
be scored as the shorter one that it equals.
"""

import hashlib
import json
import math
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion.data.images import open_images
from diffusion.errors import TrainingFailed
from diffusion.scores.kept import grid_path
from diffusion.scores.networks import score_network
from diffusion.scores.parts import OnProgress, Parts
from diffusion.settings import ScoreJob, TrainJob
from diffusion.training.checkpoint import Checkpoint, ema_model, step_checkpoint, write_json
from diffusion.training.child import Lines, Stop, locked, run_child
from diffusion.under_way import Pace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from diffusion.data.pictures import Values
    from diffusion.scores.fid import Features, Statistics
    from diffusion.scores.reference import Reference

GRID_IMAGES = 100
PROGRESS_SECONDS = 1.0  # between two lines of a phase; small batches would fill the parent's log


class Stopped(Exception):
    """The parent asked for an end before there was a score."""


class Progress:
    """Says how far one phase is, at most once a second, and ends the work when a stop was asked."""

    def __init__(self, lines: Lines, stop: Stop, phase: str, total_images: int) -> None:
        self.lines, self.stop, self.phase, self.total_images = lines, stop, phase, total_images
        self.said, self.pace = -math.inf, Pace()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        eta_seconds = self.pace.eta_seconds(done, self.total_images, now)
        if done == self.total_images or now - self.said >= PROGRESS_SECONDS:
            self.said = now
            values = {"images": done, "total_images": self.total_images, "eta_seconds": eta_seconds}
            self.lines.emit("progress", phase=self.phase, **values)
        if self.stop.asked:
            raise Stopped


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
            for parts in job.run_folder.glob(f"{_parts_name(job)}-*.parts"):
                shutil.rmtree(parts, ignore_errors=True)
        lines.emit("done", **json.loads(path.read_text()))
    return True


def measure(job: ScoreJob, lines: Lines, stop: Stop) -> dict[str, object]:
    """Sample, extract features, compare with those of real images; the score as JSON-ready values.

    What may be missing (a checkpoint, weights of the feature network) is asked for before anything is sampled.

    Raises:
        TrainingFailed: no readable checkpoint of that step, one of another training, or images without features.
        UserError: the feature network or the data are not here.
        Stopped: a stop was asked.
    """
    import torch
    from accelerate import Accelerator

    from diffusion.scores.grids import save_grid

    torch.set_num_threads(job.threads)
    started, protocol, device = time.monotonic(), job.protocol, Accelerator().device
    count = protocol.score.num_images
    checkpoint = checkpoint_to_score(job)
    model, real = averaged_network(checkpoint, job), reference_of(job, str(device))
    Progress(lines, stop, "network", count)(0)
    real.extractor.load()  # what it may lack is said now and not after the sampling
    statistics = real.statistics(Progress(lines, stop, "reference", len(real.images)))
    real_features = real.features(Progress(lines, stop, "reference", len(real.compared)))  # (≤ 10,000, F)
    images, features = _sampled(model, job, real, lines, stop)
    Progress(lines, stop, "distance", count)(0)
    distances = compare(features, statistics, real_features)
    grid = grid_path(job.run_folder, protocol.fingerprint, job.sampling_seed)
    save_grid(images[:GRID_IMAGES], grid)
    return {
        "metric": protocol.score.metric,
        **distances,
        "step": checkpoint.step,
        "num_images": len(images),
        "device_seconds": time.monotonic() - started,
        "grid": str(grid),
    }


def _sampled(
    model: "nn.Module", job: ScoreJob, real: "Reference", lines: Lines, stop: Stop
) -> tuple["Values", "Features"]:  # (num_images, C, R, R), (num_images, F)
    """The images that a score looks at and their features, in parts that a killed scoring leaves for the next one."""
    import numpy as np

    from diffusion.samplers import sample_images, usual_batch_size

    protocol, device, extractor = job.protocol, real.device, real.extractor
    settings, count = protocol.settings, protocol.score.num_images
    shape = (settings.channels, settings.resolution, settings.resolution)
    images = np.empty((count, *shape), dtype=np.float32 if settings.values else np.uint8)
    features = np.empty((count, extractor.features_of(images)))

    def draw(part: slice, tell: OnProgress) -> "Values":
        return sample_images(
            model,
            settings,
            protocol.score.sampling,
            diffusion_steps=protocol.strategy.diffusion_steps,
            indices=range(part.start, part.stop),
            seed=job.sampling_seed,
            device=device,
            on_progress=tell,
        )

    stem = job.run_folder / f"{_parts_name(job)}-{weights_digest(model)}-{real.kind_of_device}-{job.threads}"
    drawn = Parts(Path(f"{stem}-images.parts"), count, usual_batch_size(settings.resolution, real.kind_of_device))
    drawn.gather(images, draw, Progress(lines, stop, "sampling", count))
    seen = Parts(Path(f"{stem}-features.parts"), count, extractor.batch_size)
    told = Progress(lines, stop, "features", count)
    seen.gather(features, lambda part, tell: extractor(images[part], on_progress=tell), told)
    return images, features


def _parts_name(job: ScoreJob) -> str:
    return f"score-{job.protocol.fingerprint}-{job.sampling_seed}"


def weights_digest(model: "nn.Module") -> str:
    """First 12 hex digits of the SHA-256 over the weights of a network, in their order."""
    sha = hashlib.sha256()
    for tensor in model.state_dict().values():
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:12]


def compare(features: "Features", statistics: "Statistics", real: "NDArray[np.float32]") -> dict[str, float]:
    """The Fréchet distance and what stands beside it.  (N, F), statistics of all real images, (≤ 10,000, F)

    Raises:
        TrainingFailed: the distance is not finite.
    """
    from diffusion.scores.fid import feature_statistics, frechet_distance
    from diffusion.scores.fidelity import kernel_distance, precision_recall

    value = frechet_distance(feature_statistics(features), statistics)
    if not math.isfinite(value):
        raise TrainingFailed(f"the score is {value}: the images of this network have no usable features")
    kernel, shares = kernel_distance(features, real), precision_recall(features, real)
    return {
        "value": value,
        "kid": kernel.mean,
        "kid_std": kernel.std,
        "precision": shares.precision,
        "recall": shares.recall,
    }


def reference_of(job: ScoreJob, device: str) -> "Reference":
    """The real images that the protocol compares with.

    Raises:
        TrainingFailed: the protocol means another version of the feature network than the one that is here.
        UserError: the feature network or the data are not here.
    """
    from diffusion.scores.reference import Reference

    score, here = job.protocol.score, score_network(job.protocol.score.feature_network)
    if score.feature_sha256 != here.sha256:
        raise TrainingFailed(
            f"'{here.name}' of this protocol has weights {score.feature_sha256[:12]}, those here are "
            f"{here.sha256[:12]}; their scores do not compare, so take a new protocol"
        )
    data = open_images(job.data_folder, job.protocol.data_fingerprint)
    split = data.train if score.reference_split == "train" else data.test
    assert split is not None, "the protocol names a split that the data set lacks"
    return Reference(
        split,
        here.name,
        job.cache_folder,
        job.protocol.data_fingerprint,
        score.reference_split,
        device,
        job.feature_weights,
    )


def checkpoint_to_score(job: ScoreJob) -> Checkpoint:
    """The checkpoint or snapshot of the protocol's last step.

    Raises:
        TrainingFailed: there is none, it is damaged, or it comes from another training than the protocol says.
    """
    folder, step = job.run_folder, job.protocol.strategy.train_steps
    checkpoint = step_checkpoint(folder, step)
    if checkpoint is None:
        for damaged in sorted(folder.glob(f"*-{step:08d}.safetensors"), reverse=True):
            later = " with all later ones" if damaged.name.startswith("ema-") else ""
            raise TrainingFailed(
                f"'{damaged}' is cut or damaged; delete it{later} and run python -m diffusion.training.job --job "
                f"{folder / 'job.json'}, which goes on from the last whole checkpoint"
            )
        raise TrainingFailed(f"'{folder}' holds no checkpoint of step {step} to score; train that far")
    if differences := list(_differences(checkpoint.job, job)):
        raise TrainingFailed(
            f"'{folder}' holds weights of another training than this protocol's: {', '.join(differences)}; "
            "score it under its own protocol"
        )
    return checkpoint


def _differences(trained: TrainJob, job: ScoreJob) -> Iterator[str]:
    """In what a training is not the job's; how long it goes on after the step does not count."""
    protocol = job.protocol
    if job.spec is not None and trained.spec != job.spec:
        yield f"spec {trained.spec} instead of {job.spec}"
    if trained.data_fingerprint != protocol.data_fingerprint:
        yield f"data {trained.data_fingerprint} instead of {protocol.data_fingerprint}"
    pairs = ((trained.settings, protocol.settings, {"dataset"}), (trained.strategy, protocol.strategy, {"train_steps"}))
    for theirs, ours, ignored in pairs:
        for name in type(theirs).model_fields:
            if name not in ignored and getattr(theirs, name) != getattr(ours, name):
                yield f"{name} {getattr(theirs, name)} instead of {getattr(ours, name)}"


def averaged_network(checkpoint: Checkpoint, job: ScoreJob) -> "nn.Module":
    """The network with its averaged weights.  (N,C,R,R), (N,) → (N,C,R,R)

    Raises:
        TrainingFailed: the weights do not fit the spec that stands beside them.
    """
    try:
        return ema_model(checkpoint)
    except RuntimeError as error:  # what torch says of missing names and other shapes
        reason = str(error).splitlines()[-1].strip()
        raise TrainingFailed(
            f"'{job.run_folder}' holds weights at step {checkpoint.step} that are not those of its spec "
            f"{checkpoint.job.spec} ({reason}); delete them and train again"
        ) from error


if __name__ == "__main__":
    sys.exit(run_child(evaluate))
