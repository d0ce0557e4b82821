"""Does it work at all: a bf16 training, the same again, one that is killed and goes on, images drawn, a score taken.

On a CPU all three trainings have equal bits. A GPU adds up gradients in whatever order its threads end, so there the
difference that the kill makes is compared with the difference between two trainings that nobody disturbed.
"""

import math

import numpy as np
import torch
from torch import Tensor

from diffusion.settings import Protocol, Sampling, ScoreJob, ScoreProtocol, TrainJob
from diffusion.training.checkpoint import checkpoint_paths, ema_model, load_checkpoint
from gpu.bench import Bench, Measured, Wrong
from gpu.children import SCORE, TRAIN, started

MOST_TIMES_APART = 10  # what a kill may move the weights by, in differences of two undisturbed trainings
DRAWN, DRAWN_BOTH = 64, 16  # images, on the device and on the CPU as well


def smoke(bench: Bench) -> None:
    """Fill the rows; what follows a training that failed has nothing to look at."""
    steps = bench.sizes.smoke_steps
    how = {
        "train_steps": steps, "batch_size": bench.sizes.batch_size, "checkpoint_steps": steps // 4,
        "log_steps": max(1, steps // 80), "warmup_steps": steps // 10, "diffusion_steps": 100, "ema_decay": 0.99,
    }  # fmt: skip
    first, second, killed = (bench.job(name, bench.sizes.smoke_spec, "bf16", **how) for name in ("a", "b", "killed"))
    name = f"{first.spec}, {steps} steps of {first.strategy.batch_size} in bf16"
    if not bench.row(name, lambda: _trained(bench, first)):
        return
    bench.row("the same again: difference of the weights", lambda: _again(bench, first, second))
    bench.row("killed with SIGKILL and resumed: difference of the weights", lambda: _killed(bench, first, killed))
    bench.row("images drawn from it, and the same on the CPU", lambda: _drawn(bench, first))
    bench.row("scored by digits-cnn", lambda: _scored(bench, first))


def _trained(bench: Bench, job: TrainJob) -> Measured:
    with started(TRAIN, job, bench.device) as child:
        done = child.done(bench.until())
    loss, pace = done["loss"], child.said("progress")[-1][1]["images_per_second"]
    figures = {"loss": loss, "images_per_second": pace, "device_seconds": done["device_seconds"]}
    if not (math.isfinite(loss) and loss < 1):
        raise Wrong(f"a loss of {loss:.4f}, where predicting nothing has 1", figures)
    return f"loss {loss:.4f}, {pace:,.0f} images/s", figures


def _again(bench: Bench, first: TrainJob, second: TrainJob) -> Measured:
    with started(TRAIN, second, bench.device) as child:
        child.done(bench.until())
    apart = difference(first, second)
    if bench.device == "cpu" and apart:
        raise Wrong(f"{apart:.2e}, where a CPU makes none", {"apart": apart})
    return _told(apart), {"apart": apart}


def _killed(bench: Bench, first: TrainJob, job: TrainJob) -> Measured:
    kill_step = 3 * job.running.checkpoint_steps // 2
    with started(TRAIN, job, bench.device) as child:
        child.wait_for_step(kill_step, bench.until())
        child.end(kill=True)
        at = child.step
    if at >= job.last_step or not checkpoint_paths(job.run_folder):
        raise Wrong(f"the kill came at step {at} of {job.last_step}, too late or too early", {"killed_at": at})
    resumed_from = load_checkpoint(checkpoint_paths(job.run_folder)[-1]).step
    with started(TRAIN, job, bench.device) as child:
        child.done(bench.until())
        went_on = child.said("progress")[0][1]["step"]
    apart, usual = difference(first, job), next(row for row in bench.rows if "apart" in row.figures).figures["apart"]
    figures = {"apart": apart, "apart_undisturbed": usual, "killed_at": at, "resumed_from": resumed_from}
    said = f"{_told(apart)}; killed after step {at}, resumed from {resumed_from}"
    if not resumed_from < went_on <= resumed_from + job.log_steps or apart > MOST_TIMES_APART * float(usual or 0):
        raise Wrong(said, figures)
    return said, figures


def difference(one: TrainJob, other: TrainJob) -> float:
    """How far the weights at the end of two trainings are apart, in their own length; 0 for equal bits."""
    ends = [load_checkpoint(job.run_folder / f"step-{job.last_step:08d}.safetensors").tensors for job in (one, other)]
    ours, theirs = (_flat(dict(tensors)) for tensors in ends)
    return 0.0 if torch.equal(ours, theirs) else float((ours - theirs).norm() / ours.norm())


def _flat(tensors: dict[str, Tensor]) -> Tensor:
    """All weights and averages.  (numbers,)"""
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors) if name[:9] != "optimizer"])


def _told(apart: float) -> str:
    return f"{apart:.2e} of their length" if apart else "none, bit for bit"


def _drawn(bench: Bench, job: TrainJob) -> Measured:
    from diffusion.samplers import sample_images

    model = ema_model(load_checkpoint(job.run_folder / f"step-{job.last_step:08d}.safetensors"))

    def draw(count: int, device: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        sampling = Sampling(sampler="ddim", steps=10)
        steps = job.strategy.diffusion_steps
        return sample_images(
            model, job.settings, sampling, diffusion_steps=steps, indices=range(count), seed=0, device=device
        )

    images = draw(DRAWN, bench.device)
    apart = np.abs(images[:DRAWN_BOTH].astype(int) - draw(DRAWN_BOTH, "cpu").astype(int))
    figures = {"mean_levels_apart": float(apart.mean()), "most_levels_apart": int(apart.max())}
    said = f"{DRAWN} images; {apart.mean():.3f} of 255 levels apart on average, at most {apart.max()}"
    if len({image.tobytes() for image in images}) < DRAWN or apart.mean() > 1:
        raise Wrong(said, figures)
    return said, figures


def _scored(bench: Bench, job: TrainJob) -> Measured:
    from diffusion.scores.networks import score_network

    network, card = score_network("digits-cnn"), bench.card()
    score = ScoreProtocol(
        feature_network=network.name,
        feature_sha256=network.sha256,
        feature_input_size=network.input_size,
        resize_filter=network.resize_filter,
        reference_count=card.train_count,
        sampling_steps=10,
        num_images=bench.sizes.scored_images,
    )
    protocol = Protocol(
        data_fingerprint=job.data_fingerprint, settings=job.settings, strategy=job.strategy, score=score
    )
    one = ScoreJob(
        run_folder=job.run_folder, data_folder=job.data_folder, cache_folder=bench.folder, protocol=protocol,
        spec=job.spec, threads=job.threads,
    )  # fmt: skip
    with started(SCORE, one, bench.device) as child:
        done = child.done(bench.until())
    said = f"{done['metric']} {done['value']:.4g} of {done['num_images']} images in {done['device_seconds']:.1f} s"
    return said, {name: done[name] for name in ("value", "kid", "precision", "recall", "device_seconds")}
