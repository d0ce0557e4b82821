"""After Table 4 of DiffusionNAG: validity, uniqueness and novelty of unconditional samples on two benchmark spaces.

``python benchmarks/nag/table4.py --out runs-nag/table4.jsonl`` trains a score network for each space, row and seed,
draws 1,000 samples, and prints the table. Killed and started again it goes on. ``--only nasbench201`` and ``--rows
trained`` narrow it, ``--steps`` and ``--samples`` make it small. No accuracy is needed, so no table of results is.

Rows: the network as it is; without positions; without the graph's mask; without both, which stands for GDSS, a model
of undirected graphs that knows neither. *closed form* samples by the exact score, *uniform* draws architectures evenly:
what a perfect generator has.
"""

import argparse
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from cells import Key, Row, mean_and_spread, play
from diffusion.nag.closed_form import product_score
from diffusion.nag.generator import Generator, quality
from diffusion.nag.graphs import GraphSpace, scaled
from diffusion.nag.mobilenet_v3 import mobilenet_v3
from diffusion.nag.nasbench201 import nasbench201
from diffusion.nag.score_network import NetworkSize
from diffusion.nag.sde import matching_loss
from diffusion.nag.training import ScoreTraining, new_network, train_score
from diffusion.streams import generator

SPACES: dict[str, GraphSpace[Any]] = {space.name: space for space in (nasbench201(), mobilenet_v3())}
TRAININGS = {  # what both need to be valid, found by hand
    "nasbench201": ScoreTraining(),
    "mobilenet-v3": ScoreTraining(steps=4_000, batch_size=128, learning_rate=5e-3, ema_decay=0.995),
}
LEVELS = {"nasbench201": 100, "mobilenet-v3": 150}  # of the sampler
SIZES = {
    "trained": NetworkSize(),
    "no positions": NetworkSize(positions=False),
    "no mask": NetworkSize(mask=False),
    "no positions, no mask": NetworkSize(positions=False, mask=False),
}
ROWS = (*SIZES, "closed form", "uniform")
SAMPLED_SET = 500_000  # architectures of MobileNetV3 to train on, as the paper has
LOSS_SAMPLES = 2_000  # of which the loss is compared with the least


@lru_cache(maxsize=1)
def training_set(name: str, seed: int) -> torch.Tensor:
    """Half of the cells, or a sample of the architectures.  → (M,N,F) bool"""
    space, noise = SPACES[name], generator(seed, "training set")
    if space.size > SAMPLED_SET:
        return space.sample(SAMPLED_SET, noise)
    members = space.members()
    return members[torch.randperm(len(members), generator=noise)[: len(members) // 2]]


@lru_cache(maxsize=1)
def training_architectures(name: str, seed: int) -> frozenset[Any]:
    """The same in their own words, to tell what is novel."""
    space = SPACES[name]
    return frozenset(space.decode(training_set(name, seed), space.id))


def measure(key: Key) -> dict[str, Any]:
    """Train if the row does, sample, count."""
    name, row, seed, samples = str(key["space"]), str(key["row"]), int(key["seed"]), int(key["samples"])
    space = SPACES[name]
    score, found = product_score(space).score, {}
    if row in SIZES:
        network, found = _trained(name, row, seed, int(key["steps"]))
        score = network.score
    started = time.perf_counter()
    training = TRAININGS[name]
    source = Generator(space, score, process=training.process, steps=LEVELS[name])
    raw = (
        source.raw(samples, seed)
        if row != "uniform"
        else space.decode(space.sample(samples, generator(seed)), space.id)
    )
    seconds = time.perf_counter() - started
    counted = quality(raw, training_architectures(name, seed))
    shares = {part: getattr(counted, part) for part in ("validity", "uniqueness", "novelty")}
    return {**shares, "sample_seconds": round(seconds, 2), **found}


def _trained(name: str, row: str, seed: int, steps: int) -> tuple[Any, dict[str, Any]]:
    space, graphs = SPACES[name], training_set(name, seed)
    training = TRAININGS[name].model_copy(update={"size": SIZES[row], "seed": seed, "steps": steps})
    started, cpu = time.perf_counter(), time.process_time()
    network = new_network(space, training)
    for _ in train_score(network, graphs, training):
        pass
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    clean = scaled(space.sample(LOSS_SAMPLES, generator(seed, "loss")))
    sigma = training.process.draw(LOSS_SAMPLES, generator(seed, "levels"))
    loss, least = (
        float(matching_loss(score, clean, sigma, generator(seed, "noise")))
        for score in (network.score, product_score(space).score)
    )
    return network, {
        "parameters": network.parameter_count,
        "train_seconds": round(seconds, 1),
        "train_cpu_seconds": round(cpu_seconds, 1),
        "loss": loss,
        "least_loss": least,
        "loss_ratio": loss / least,
    }


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table, means over the seeds."""
    columns = {
        "validity": 100,
        "uniqueness": 100,
        "novelty": 100,
        "loss_ratio": 1,
        "train_seconds": 1,
        "sample_seconds": 1,
    }
    lines = ["| space | row | validity % | uniqueness % | novelty % | loss / least | training s | sampling s |"]
    lines.append("| --- " * (2 + len(columns)) + "|")
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["space"], row["row"]), []).append(row)
    for (space, name), group in groups.items():
        shown = " | ".join(mean_and_spread(group, column, factor) for column, factor in columns.items())
        lines.append(f"| {space} | {name} | {shown} |")
    return "\n".join(lines)


def main() -> int:
    """Measure what is missing and print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=SPACES, nargs="+", default=list(SPACES))
    parser.add_argument("--rows", choices=ROWS, nargs="+", default=list(ROWS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1_000)
    parser.add_argument("--steps", type=int, help="of each training; without it as many as it needs")
    asked = parser.parse_args()
    keys: list[Mapping[str, str | int]] = [
        {
            "space": space,
            "row": row,
            "seed": seed,
            "samples": asked.samples,
            "steps": asked.steps or TRAININGS[space].steps,
        }
        for space in asked.only
        for seed in range(asked.seeds)
        for row in asked.rows
    ]
    print(table(play(asked.out, keys, measure)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
