"""After Table 2 of DiffusionNAG: how many cells are trained on an unseen data set until the best one is found.

``python benchmarks/nag/transfer.py --table CSV --out transfer.jsonl`` takes each data set of NAS-Bench-201 in turn for
the unseen one, with the other two to learn from, ten seeds of each way, goes on where a run of it stopped, and prints
the table.

The images of two of the three sets are not to be had, so a data set is seen by 16 labelled cells of it, which count as
trained: not the paper's encoding. Two data sets are few to learn from (the paper has 4,230), so episodes are made of
them: weighted sums of the two, with a random sum over operators added. An accuracy is the cell's test accuracy.

    generated       cells generated under Eq. 10, trained in the order of their predicted ranks
    all             all cells in that order: what the predictor does without a generator
    mean-rank       all cells in the order of their mean rank on the other two; nothing is labelled
    gp              a process over networks from scratch, expected improvement
    tpe, random     from scratch
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import optuna
import torch
from pydantic import BaseModel
from scipy.special import ndtr

from diffusion.nag.closed_form import product_score
from diffusion.nag.generator import Generator
from diffusion.nag.guidance import GoodRank, Guide
from diffusion.nag.nasbench201 import CELLS, EDGES, OPERATIONS, Cell, nasbench201, number
from diffusion.nag.search.ensemble import normal_scores
from diffusion.nag.transfer import (
    Conditioned,
    Episode,
    MetaTraining,
    SetConditioned,
    labelled,
    meta_train,
    told_labels,
)
from landscape import SETS, Floats, Landscape
from records import Records
from ways import Oracle, Task, gp_over_networks

SCALE = 20.0  # of the guidance, tried 6, 20 and 60 on another seed: 60 left the best cell out
LABELS = 16  # the number
GENERATED = 1000
MOST = 200  # evaluations of a way from scratch that spends time on each
QUERIES = 64  # of an episode, among all cells and among the good ones
GOOD = 1500  # cells, by their sum over the two sets: where the ranking is to be precise
BEYOND = 0.25  # how far a weighted sum goes beyond either of the two
PREFERENCE = 1.0  # the most that a random sum over operators adds, in deviations


class Found(BaseModel):
    """How one way fared."""

    way: str
    data_set: str
    seed: int
    position: int | None  # in its order, of the first cell as good as the best; None if it is not there
    offered: int  # cells in that order
    labels: int  # trained before
    correlation: float | None = None  # of ranks told the others and those labelled
    cpu_seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str, int]:
        return self.way, self.data_set, self.seed


@dataclass(frozen=True)
class Unseen:
    """A data set to search, and what is drawn with."""

    landscape: Landscape
    data_set: str
    seed: int
    steps: int  # of meta-training

    @property
    def accuracies(self) -> Floats:
        return self.landscape.test(self.data_set)

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng((self.seed, SETS.index(self.data_set)))

    def position(self, order: Iterable[int]) -> int | None:
        """Where in an order the first cell stands whose accuracy is the oracle's, to two digits as in the paper."""
        best = round(float(self.accuracies.max()), 2)
        return next(
            (at for at, cell in enumerate(order, start=1) if round(float(self.accuracies[cell]), 2) >= best), None
        )

    def found(self, way: str, order: list[int], labels: Sequence[int] = (), correlation: float | None = None) -> Found:
        """What came of an order of cells to train; where one of the labels is the best its position is 0."""
        return Found(
            way=way,
            data_set=self.data_set,
            seed=self.seed,
            position=0 if self.position(labels) else self.position(order),
            offered=len(order),
            labels=len(labels),
            correlation=correlation,
        )


@lru_cache(maxsize=1)
def taught(landscape: Landscape, data_set: str, seed: int, steps: int) -> SetConditioned:
    """A predictor that has learned from the other two data sets."""
    space, one_hot = nasbench201(), nasbench201().members()
    flat, ranks = (
        one_hot.flatten(1).double().numpy(),
        [normal_scores(landscape.test(o)) for o in landscape.others(data_set)],
    )
    good = np.argsort(-sum(ranks))[:GOOD]

    def draw(noise: torch.Generator) -> Episode:
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=noise)))
        weight = rng.uniform(-BEYOND, 1 + BEYOND)
        mixed = standard(weight * ranks[0] + (1 - weight) * ranks[1])
        preferred = standard(flat @ rng.normal(size=flat.shape[1]))
        scores = standard(mixed + PREFERENCE * rng.uniform() * preferred)
        seen = rng.choice(CELLS, LABELS, replace=False)
        asked = np.concatenate([rng.choice(CELLS, QUERIES), rng.choice(good, QUERIES)])
        wanted = torch.from_numpy(ndtr(scores[asked])).float()  # a rank, were the sum normal, as each of its terms is
        return Episode(labelled(one_hot[seen], scores[seen]), one_hot[asked], wanted)

    training = MetaTraining(seed=seed, steps=steps)
    items = draw(torch.Generator().manual_seed(0)).items.shape[1]
    network = SetConditioned(product_score(space), space.allowed, items, training)
    return meta_train(network, draw, training)


def standard(values: Floats) -> Floats:
    return values / values.std()


def conditioned(task: Unseen) -> tuple[Conditioned, list[int]]:
    """The predictor told some labels, and which cells those are."""
    labels = task.rng.choice(CELLS, LABELS, replace=False)
    network = taught(task.landscape, task.data_set, task.seed, task.steps)
    return told_labels(network, nasbench201().members()[labels], task.accuracies[labels]), labels.tolist()


def by_rank(predictor: Conditioned, cells: list[int], labels: list[int]) -> list[int]:
    """Cells from the best predicted rank down, less those that are labelled."""
    left = [cell for cell in cells if cell not in set(labels)]
    ranks = predictor.ranks_of(nasbench201().members()[left]).numpy()
    return [left[at] for at in np.argsort(-ranks, kind="stable")]


def generated(task: Unseen) -> Found:
    space = nasbench201()
    predictor, labels = conditioned(task)
    source = Generator(space, product_score(space).score)
    raw = source.raw(GENERATED, task.seed, [Guide(GoodRank(predictor), SCALE)])
    cells = number(dict.fromkeys(each for each in raw if each is not None)).tolist()
    return task.found("generated", by_rank(predictor, cells, labels), labels, predictor.correlation)


def every(task: Unseen) -> Found:
    predictor, labels = conditioned(task)
    return task.found("all", by_rank(predictor, list(range(CELLS)), labels), labels, predictor.correlation)


def mean_rank(task: Unseen) -> Found:
    ranks = sum(normal_scores(task.landscape.test(other)) for other in task.landscape.others(task.data_set))
    return task.found("mean-rank", np.argsort(-ranks, kind="stable").tolist())


def random(task: Unseen) -> Found:
    return task.found("random", task.rng.permutation(CELLS).tolist())


def gp(task: Unseen) -> Found:
    oracle = Oracle(task.accuracies, MOST)
    gp_over_networks(Task(oracle, task.landscape, task.data_set, task.rng))
    return task.found("gp", oracle.asked)


def tpe(task: Unseen) -> Found:
    """Optuna's, its defaults but for the generator; cells that it asks for again are not trained again."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=task.seed))
    order: dict[int, None] = {}

    def objective(trial: optuna.Trial) -> float:
        cell: Cell = tuple(trial.suggest_categorical(str(edge), range(len(OPERATIONS))) for edge in EDGES)
        asked = int(number([cell])[0])
        order[asked] = None
        return float(task.accuracies[asked])

    study.optimize(objective, n_trials=MOST)
    return task.found("tpe", list(order))


WAYS: Mapping[str, Callable[[Unseen], Found]] = {
    "generated": generated,
    "all": every,
    "mean-rank": mean_rank,
    "gp": gp,
    "tpe": tpe,
    "random": random,
}


def markdown(found: list[Found]) -> str:
    """Cells trained until the best is found: the median over seeds, the least and the most, how many found it."""
    lines = [f"| {' | '.join(['way', *SETS])} |", "| --- | --- | --- | --- |"]
    for way in dict.fromkeys(each.way for each in found):
        cells = []
        for data_set in SETS:
            own = [each for each in found if (each.way, each.data_set) == (way, data_set)]
            cells.append(summary(own) if own else "")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(own: list[Found]) -> str:
    """``16 + 4 (1 to 9), 10/10``; where less than half found it, more than were offered."""
    trained = np.sort([np.inf if each.position is None else each.position for each in own])
    median = float(trained[len(trained) // 2])  # of an even number the worse one: half of infinity says nothing
    within = own[0].offered
    said = f"{median:.0f}" if np.isfinite(median) else f"more than {within}"
    first, last = (f"{each:.0f}" if np.isfinite(each) else "never" for each in (trained[0], trained[-1]))
    before = f"{own[0].labels} + " if own[0].labels else ""
    return f"{before}{said} ({first} to {last}), {int(np.isfinite(trained).sum())}/{len(own)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="the CSV file of NAS-Bench-201's results")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, made or gone on with")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--steps", type=int, default=MetaTraining().steps, help="of meta-training")
    asked = parser.parse_args()
    records, landscape = Records(asked.out, Found), Landscape.read(asked.table)
    wanted = [
        (way, name, seed) for seed, name, way in itertools.product(range(asked.seeds), SETS, asked.ways.split(","))
    ]
    for way, name, seed in records.missing(wanted, lambda each: each.key):
        began = time.process_time()
        found = WAYS[way](Unseen(landscape, name, seed, asked.steps))
        records.add(found.model_copy(update={"cpu_seconds": time.process_time() - began}))
    print(markdown([each for each in records.all if each.key in set(wanted)]))


if __name__ == "__main__":
    main()
