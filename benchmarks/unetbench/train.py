"""Trains the networks of UNetBench with the product's own trainer, and scores each at three numbers of steps.

``OMP_NUM_THREADS=1 python benchmarks/unetbench/train.py --out FOLDER``; about three hours on two quiet cores. What is
trained and scored stands in ``FOLDER/unetbench.db``: killed at any moment and started again, it does what is left.
``benchmarks/unetbench/table.py`` makes the shipped table from it.

The space is a complete product: every one-step neighbour of an entry is an entry. Each network is trained with two
seeds under the `digits` preset's protocol, the preset's baseline with eight, so that a search has its replicas.
"""

import argparse
import itertools
from pathlib import Path

from agent.config.settings import RunConfig
from agent.config.sources import preset_settings
from agent.search.plan import Plan, plan
from agent.study.arms import TRUTH, Arm, Study
from agent.study.run import run_study
from agent.study.store import open_study
from diffusion.spec import UNetSpec
from memory.connection import opened

NAME = "unetbench"
STEPS = (200, 400, 600)  # of one training; the last is the preset's own
SEEDS, BASELINE_SEEDS = (0, 1), (2, 3, 4, 5, 6, 7)  # of every network; further ones of the baseline
BASE_CHANNELS, BLOCKS = (8, 16), (1, 2)
MULTIPLIERS = ((1,), (1, 2), (1, 2), (1, 2, 3))  # of each stage, full resolution first
ATTENTION = ((False,), (False, True), (False, True), (False,))


def networks(baseline: UNetSpec) -> tuple[UNetSpec, ...]:
    """The baseline, and every other network of the space: 192 in all, no two of which are spelled for one."""
    product = itertools.product(BASE_CHANNELS, BLOCKS, itertools.product(*MULTIPLIERS), itertools.product(*ATTENTION))
    every = [UNetSpec(base_channel=b, num_blocks=n, channel_mult=m, attn=a) for b, n, m, a in product]
    return (baseline, *(spec for spec in every if spec != baseline))


def arm(first: Plan, study: str, seed: int) -> Arm:
    """All trainings of one seed."""
    name = f"{TRUTH}{seed + 1}"  # these are full trainings, counted from one
    config = first.config.changed(seed=seed, name=f"{study}-{name}", snapshot_steps=STEPS)
    return Arm(name, Plan(config, first.protocol, first.baseline, first.card, ()), STEPS)


def studies(config: RunConfig) -> tuple[Study, Study]:
    """The trainings of every network, and those of the baseline alone."""
    first = plan(config)
    specs = networks(first.baseline)
    return (
        Study(NAME, specs, tuple(arm(first, NAME, seed) for seed in SEEDS)),
        Study(f"{NAME}-baseline", specs[:1], tuple(arm(first, f"{NAME}-baseline", seed) for seed in BASELINE_SEEDS)),
    )


def main() -> int:
    """Train and score what is left; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parallel", type=int, default=2)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    settings = preset_settings("digits") | {"budget": "1G", "parallel": asked.parallel}
    places = {"db": asked.out / f"{NAME}.db", "out": asked.out / "runs"}
    config = RunConfig.from_flat({**settings, **places})
    for study in studies(config):
        with opened(config.places.db) as db:
            known = open_study(db, study)
        if code := run_study(known, as_json=False, also_on=known.arms[0].name):
            return code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
