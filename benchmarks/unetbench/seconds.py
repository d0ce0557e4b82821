"""How long each network of UNetBench trains and is scored, measured one after the other on a machine that is quiet.

``OMP_NUM_THREADS=1 python benchmarks/unetbench/seconds.py --from FOLDER --to FILE``. Trainings that share a machine
with other work take as long as that lets them, so their own device-seconds say little. Here each network takes a few
real steps of its training and a few of its sampling, in two rounds over all networks in random order; what a training
takes is its number of steps times the median of a step. The features of the images cost the same for all and are
measured once. One thread, as the trainings had.
"""

import argparse
import json
import random
import statistics
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from train import SEEDS, networks, studies

from agent.config.settings import RunConfig
from agent.config.sources import preset_settings
from agent.study.arms import Arm
from diffusion.data.images import open_images
from diffusion.samplers import sample_images
from diffusion.scores.fid import extract_features
from diffusion.settings import Protocol, TrainJob
from diffusion.spec import UNetSpec
from diffusion.training.trainer import Trainer

ROUNDS, WARM_UP, TIMED_STEPS, TIMED_SAMPLING = 2, 2, 5, 2


def main() -> int:
    """Measure every network and write the file; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, required=True, help="what train.py was given as --out")
    parser.add_argument("--to", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    settings = preset_settings("digits") | {"budget": "1G", "out": asked.folder / "runs"}
    study, _ = studies(RunConfig.from_flat(settings))
    first = study.arms[0]
    images = open_images(asked.folder / "runs" / "data", first.protocol.data_fingerprint).train
    trains: dict[str, list[float]] = {}
    scores: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        for spec in random.Random(number).sample(networks(study.specs[0]), len(study.specs)):
            step, sampling = measured(spec, first, images)
            trains.setdefault(str(spec), []).extend(step)
            scores.setdefault(str(spec), []).append(sampling)
        print(f"round {number + 1} of {ROUNDS} over {len(study.specs)} networks", flush=True)
    features = features_of(images, first.protocol)
    train_steps = first.protocol.strategy.train_steps
    found = {
        name: {"train": train_steps * statistics.median(times), "score": features + statistics.median(scores[name])}
        for name, times in trains.items()
    }
    asked.to.write_text(json.dumps({"seeds": SEEDS, "networks": found}, indent=1))
    return 0


def measured(spec: UNetSpec, arm: Arm, images: "object") -> tuple[list[float], float]:
    """Seconds of some training steps, and of the sampling of one score."""
    protocol = arm.protocol
    job = TrainJob(
        spec=spec,
        settings=protocol.settings,
        strategy=protocol.strategy,
        seed=0,
        data_fingerprint=protocol.data_fingerprint,
        data_folder=Path("none"),
        run_folder=Path("none"),
        until_step=WARM_UP + TIMED_STEPS,
    )
    trainer = Trainer(job, images, Accelerator())  # type: ignore[arg-type]
    at = [time.perf_counter() for _ in trainer.steps()]
    steps = [later - earlier for earlier, later in zip(at[WARM_UP - 1 :], at[WARM_UP:], strict=False)]
    score = protocol.score
    started = time.perf_counter()
    sample_images(
        trainer.network.eval(),
        protocol.settings,
        score.sampling.model_copy(update={"steps": TIMED_SAMPLING}),
        diffusion_steps=protocol.strategy.diffusion_steps,
        indices=range(score.num_images),
        seed=0,
    )
    return steps, (time.perf_counter() - started) * score.sampling_steps / TIMED_SAMPLING


def features_of(images: "object", protocol: Protocol) -> float:
    """Seconds of the features of as many images as a score looks at."""
    some = images[: protocol.score.num_images]  # type: ignore[index]
    extract_features(some, protocol.score.feature_network)
    started = time.perf_counter()
    extract_features(some, protocol.score.feature_network)
    return time.perf_counter() - started


if __name__ == "__main__":
    raise SystemExit(main())
