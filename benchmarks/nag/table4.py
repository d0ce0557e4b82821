"""After Table 4 of DiffusionNAG: validity, uniqueness and novelty of unconditional samples on two benchmark spaces.

``python benchmarks/nag/table4.py --out runs-nag/table4.jsonl`` trains a score network for each space, row and seed,
draws 1,000 samples, and prints the table. Killed and started again it goes on. ``--only nasbench201`` and ``--rows
trained`` narrow it, ``--steps`` and ``--samples`` make it small. No accuracy is needed, so no table of results is.

Rows: the network as it is; without positions; without the graph's mask; without both, which stands for GDSS, a model
of undirected graphs that knows neither. *closed form* samples by the exact score, *uniform* draws architectures evenly:
what a perfect generator has.
"""

import argparse
import itertools
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel

from diffusion.nag.closed_form import product_score
from diffusion.nag.generator import Generator, quality
from diffusion.nag.graphs import GraphSpace, scaled
from diffusion.nag.mobilenet_v3 import mobilenet_v3
from diffusion.nag.nasbench201 import nasbench201
from diffusion.nag.score_network import NetworkSize, ScoreNetwork
from diffusion.nag.sde import matching_loss
from diffusion.nag.training import ScoreTraining, new_network, train_score
from diffusion.streams import generator
from records import Records, mean_and_spread

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
SHARES = ("validity", "uniqueness", "novelty")
ROWS = (*SIZES, "closed form", "uniform")
SAMPLED_SET = 500_000  # architectures of MobileNetV3 to train on, as the paper has
LOSS_SAMPLES = 2_000  # of which the loss is compared with the least


class Key(NamedTuple):
    """What one result is of."""

    space: str
    row: str
    seed: int
    samples: int
    steps: int


class Trained(BaseModel):
    """A score network's cost, and its loss beside the least there is."""

    parameters: int
    train_seconds: float
    train_cpu_seconds: float
    loss: float
    least_loss: float


class Result(BaseModel):
    """Shares of the samples."""

    key: Key
    validity: float
    uniqueness: float
    novelty: float
    sample_seconds: float
    trained: Trained | None  # where a row has no network


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


def measure(key: Key) -> Result:
    """Train if the row does, sample, count."""
    space, training, trained = SPACES[key.space], TRAININGS[key.space], None
    score = product_score(space).score
    if key.row in SIZES:
        network, trained = _trained(key)
        score = network.score
    started = time.perf_counter()
    if key.row == "uniform":
        raw = space.decode(space.sample(key.samples, generator(key.seed)), space.id)
    else:
        source = Generator(space, score, process=training.process, steps=LEVELS[key.space])
        raw = source.raw(key.samples, key.seed)
    seconds = time.perf_counter() - started
    counted = quality(raw, training_architectures(key.space, key.seed))
    return Result(
        key=key,
        validity=counted.validity,
        uniqueness=counted.uniqueness,
        novelty=counted.novelty,
        sample_seconds=round(seconds, 2),
        trained=trained,
    )


def _trained(key: Key) -> tuple[ScoreNetwork, Trained]:
    space, graphs = SPACES[key.space], training_set(key.space, key.seed)
    changes = {"size": SIZES[key.row], "seed": key.seed, "steps": key.steps}
    training = TRAININGS[key.space].model_copy(update=changes)
    started, cpu = time.perf_counter(), time.process_time()
    network = new_network(space, training)
    for _ in train_score(network, graphs, training):
        pass
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    clean = scaled(space.sample(LOSS_SAMPLES, generator(key.seed, "loss")))
    sigma = training.process.draw(LOSS_SAMPLES, generator(key.seed, "levels"))
    loss, least = (
        float(matching_loss(score, clean, sigma, generator(key.seed, "noise")))
        for score in (network.score, product_score(space).score)
    )
    return network, Trained(
        parameters=network.parameter_count,
        train_seconds=round(seconds, 1),
        train_cpu_seconds=round(cpu_seconds, 1),
        loss=loss,
        least_loss=least,
    )


def table(found: list[Result]) -> str:
    """The results as a Markdown table, means over the seeds."""
    heads = ["space", "row", "validity %", "uniqueness %", "novelty %", "loss / least", "training CPU s", "sampling s"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for (space, row), same in itertools.groupby(found, lambda each: each.key[:2]):
        group = list(same)
        trained = [each.trained for each in group if each.trained]
        shown = [mean_and_spread((getattr(each, name) for each in group), 100) for name in SHARES]
        shown.append(mean_and_spread((each.loss / each.least_loss for each in trained), digits=4))
        shown.append(mean_and_spread((each.train_cpu_seconds for each in trained), digits=0))
        shown.append(mean_and_spread((each.sample_seconds for each in group), digits=1))
        lines.append(f"| {space} | {row} | {' | '.join(shown)} |")
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
    wanted = [
        Key(space, row, seed, asked.samples, asked.steps or TRAININGS[space].steps)
        for space, row, seed in itertools.product(asked.only, asked.rows, range(asked.seeds))
    ]
    records = Records(asked.out, Result)
    by_data = sorted(wanted, key=lambda key: (asked.only.index(key.space), key.seed))  # a set of graphs is made once
    for key in records.missing(by_data, lambda each: each.key):
        records.add(measure(key))
    print(table(records.of(wanted, lambda each: each.key)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
