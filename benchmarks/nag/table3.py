"""After Table 3 of DiffusionNAG: how good 1,000 generated cells of NAS-Bench-201 are, with 200 labelled cells.

``python benchmarks/nag/table3.py --table nasbench201.csv.gz --out runs-nag/table3.jsonl`` trains one score network on
half of the cells (no labels), and for each data set and seed an ensemble on the validation accuracies of 200 cells,
which it knows in all spellings of their networks. What is reported is test accuracy. Killed and started again it goes
on; ``--samples`` and ``--steps`` make it small.

Rows: *oracle*, the best 1,000 of all cells; *random*, 1,000 cells drawn evenly; *unconditional + sorting*, the best by
the predictor of 10,000 unconditional samples; *guided*, 1,000 samples, as they come, by the same predictor; *closed
form, guided*, the same with the exact score instead of the network's; *sorting all*, the best by the predictor of all
cells, which the paper does not have: what a perfect generator would give.
"""

import argparse
import itertools
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel

from diffusion.nag.closed_form import product_score
from diffusion.nag.generator import Generator
from diffusion.nag.guidance import GoodRank, Guide
from diffusion.nag.nasbench201 import Cell, Table, canonical, every_cell, nasbench201
from diffusion.nag.predictor import PredictorTraining, RankEnsemble, fit_ranks
from diffusion.nag.score_network import ScoreNetwork
from diffusion.nag.training import ScoreTraining, load_score, new_network, save_score, train_score
from diffusion.streams import generator
from records import Records, mean_and_spread

SPACE = nasbench201()
PRIOR = product_score(SPACE)
LABELS = 200
POOL = 10  # unconditional samples for each that sorting keeps, as in the paper
SCALE = 16.0  # of the guidance, chosen on seeds 10 to 13, which are not reported; from 20 on nothing got better
PREDICTOR = PredictorTraining(members=16, steps=600, weight_decay=0.3)  # chosen on the same seeds
SETS = ("cifar10", "cifar100")
SHARES = ("validity", "uniqueness")
ROWS = ("oracle", "random", "unconditional + sorting", "guided", "closed form, guided", "sorting all")


class Key(NamedTuple):
    """What one result is of."""

    set: str
    row: str
    seed: int
    samples: int
    scale: float


class Result(BaseModel):
    """Test accuracies of the valid, in percent, and how many are valid and differ."""

    key: Key
    max: float
    mean: float
    min: float
    validity: float
    uniqueness: float
    left_out_correlation: float


@cache
def results(path: Path) -> Table:
    """The table, read once."""
    return Table.read(path)


@cache
def ensemble(path: Path, data_set: str, seed: int) -> RankEnsemble:
    """What 200 labelled cells teach, each in all its spellings; cells that are one network are one label."""
    cells = [cell for cell in SPACE.decode(SPACE.sample(LABELS, generator(seed, "labelled cells")), SPACE.id) if cell]
    of_each, goodness = canonical(cells, thorough=True), results(path).of(f"{data_set}_val", cells)
    networks, members = canonical(every_cell(), thorough=True), SPACE.members()
    known = np.unique(of_each)
    return fit_ranks(
        PRIOR,
        [members[networks == name] for name in known],
        np.array([goodness[of_each == name].mean() for name in known]),
        allowed=SPACE.allowed,
        training=PREDICTOR,
    )


@cache
def score_network(path: Path, steps: int) -> ScoreNetwork:
    """The network in a file, trained and written where there is none."""
    if path.is_file():
        return load_score(path, SPACE)[0]
    training = ScoreTraining(steps=steps)
    members = SPACE.members()
    half = members[torch.randperm(len(members), generator=generator(0, "training set"))[: len(members) // 2]]
    network = new_network(SPACE, training)
    for _ in train_score(network, half, training):
        pass
    save_score(path, network, SPACE, training)
    return network


def best(cells: list[Cell], worth: np.ndarray, count: int) -> list[Cell]:
    """The cells that are worth most."""
    return [cells[place] for place in np.argsort(-worth, kind="stable")[:count]]


def drawn(key: Key, table: Path, network: ScoreNetwork) -> list[Cell | None]:
    """What a row takes its statistics of."""
    cells = list(every_cell())
    source = Generator(SPACE, PRIOR.score if key.row.startswith("closed form") else network.score)
    if key.row == "oracle":
        return list(best(cells, results(table).columns[f"{key.set}_test"], key.samples))
    if key.row == "random":
        return SPACE.decode(SPACE.sample(key.samples, generator(key.seed, "random cells")), SPACE.id)
    predictor = ensemble(table, key.set, key.seed)
    if key.row == "sorting all":
        return list(best(cells, predictor.ranks_of(SPACE.members()).mean(dim=0).numpy(), key.samples))
    if key.row == "unconditional + sorting":
        pool = [cell for cell in source.raw(POOL * key.samples, key.seed) if cell]
        return list(best(pool, predictor.ranks_of(SPACE.encode(pool) > 0).mean(dim=0).numpy(), key.samples))
    return source.raw(key.samples, key.seed, [Guide(GoodRank(predictor), key.scale)])


def measure(key: Key, table: Path, network: ScoreNetwork) -> Result:
    """Draw, look up, count."""
    found = drawn(key, table, network)
    valid = [cell for cell in found if cell]
    accuracy = results(table).of(f"{key.set}_test", valid)
    return Result(
        key=key,
        max=float(accuracy.max()),
        mean=float(accuracy.mean()),
        min=float(accuracy.min()),
        validity=len(valid) / len(found),
        uniqueness=len(set(valid)) / len(valid),
        left_out_correlation=ensemble(table, key.set, key.seed).correlation,
    )


def summary(found: list[Result]) -> str:
    """The results as a Markdown table, means over the seeds."""
    lines = ["| set | row | max | mean | min | validity % | uniqueness % |", "| --- " * 7 + "|"]
    for (data_set, row), same in itertools.groupby(found, lambda each: each.key[:2]):
        group = list(same)
        accuracies = [mean_and_spread(getattr(each, name) for each in group) for name in ("max", "mean", "min")]
        shares = [mean_and_spread((getattr(each, name) for each in group), 100, 1) for name in SHARES]
        lines.append(f"| {data_set} | {row} | {' | '.join(accuracies + shares)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure what is missing and print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="CSV file of NAS-Bench-201's results")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--score", type=Path, help="the score network; beside --out without it, trained if missing")
    parser.add_argument("--sets", choices=SETS, nargs="+", default=list(SETS))
    parser.add_argument("--rows", choices=ROWS, nargs="+", default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=1_000)
    parser.add_argument("--scale", type=float, default=SCALE)
    parser.add_argument("--steps", type=int, default=ScoreTraining().steps, help="of the score network's training")
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    network = score_network(asked.score or asked.out.with_suffix(".safetensors"), asked.steps)
    wanted = [
        Key(data_set, row, seed, asked.samples, asked.scale)
        for data_set, row, seed in itertools.product(asked.sets, asked.rows, asked.seeds)
    ]
    records = Records(asked.out, Result)
    for key in records.missing(wanted, lambda each: each.key):
        records.add(measure(key, asked.table, network))
    print(summary(records.of(wanted, lambda each: each.key)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
