"""After Figures 3 and 4 of DiffusionNAG: every optimiser of an acquisition function with every acquisition function.

``python benchmarks/nag/bo_study.py --table CSV --out bo.jsonl`` searches NAS-Bench-201 on CIFAR-10 and CIFAR-100 with
60 evaluations for each data set, optimiser, acquisition function and seed, goes on where a run of it stopped, and
prints the tables; ``--print-only`` prints what there is. 30 seeds of the pairs in question, 10 of all others. An
evaluation is the cell's test accuracy, as in the paper: the oracle's 94.37 and 73.51 are of that.

The paper's Figure 4 and a part of Figure 3 are on ImageNet-1K, whose trainings are not to be had.
"""

import argparse
import itertools
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from diffusion.nag.closed_form import product_score
from diffusion.nag.generator import Generator
from diffusion.nag.graphs import Places
from diffusion.nag.nasbench201 import nasbench201, number
from diffusion.nag.search.acquisition import ACQUISITIONS, Acquisition
from diffusion.nag.search.bo import Search, evaluations_until, regret
from diffusion.nag.search.generation import STEPS, generating
from diffusion.nag.search.optimisers import OPTIMISERS, Optimiser, OptimiserName, optimiser
from diffusion.statistics.paired import mean_interval, paired_tests
from landscape import Landscape
from records import Records

Floats = NDArray[np.float64]
STUDIED = ("cifar10", "cifar100")
IN_QUESTION = ("guided", "mutation+random", "exhaustive")
ACQUISITIONS_IN_QUESTION = ("ucb", "its")
EVALUATIONS = 60
MARKS = (20, 40, 60)  # evaluations after which the regrets are compared
ORACLE = {"cifar10": 94.37, "cifar100": 73.51}  # as the paper rounds it
Pair = tuple[OptimiserName, Acquisition]
Key = tuple[str, OptimiserName, Acquisition, int]


class Trace(BaseModel):
    """One search."""

    data_set: str
    optimiser: OptimiserName
    acquisition: Acquisition
    seed: int
    cells: list[int]  # their numbers, in the order of evaluation
    accuracies: list[float]  # test, percent
    cpu_seconds: float

    @property
    def key(self) -> Key:
        return self.data_set, self.optimiser, self.acquisition, self.seed


def keys(seeds: int, seeds_elsewhere: int) -> Iterator[Key]:
    """The searches of the study, the first seeds of all first."""
    for seed in range(max(seeds, seeds_elsewhere)):
        for data_set, name, acquisition in itertools.product(STUDIED, OPTIMISERS, ACQUISITIONS):
            asked = name in IN_QUESTION and acquisition in ACQUISITIONS_IN_QUESTION
            if seed < (seeds if asked else seeds_elsewhere):
                yield data_set, name, acquisition, seed


@cache
def offering(name: OptimiserName) -> Optimiser:
    """The optimiser of that name over the benchmark's cells; the score is the exact one of all of them."""
    space = nasbench201()
    return optimiser(name, space, generating(Generator(space, product_score(space).score, steps=STEPS)))


def trace(landscape: Landscape, key: Key, evaluations: int) -> Trace:
    """Search once; ways to search with the same seed begin with the same cells."""
    data_set, name, acquisition, seed = key
    accuracies, began = landscape.test(data_set), time.process_time()

    def evaluate(places: Places) -> float:
        return float(accuracies[_number(places)])

    search = Search(nasbench201(), evaluate, offering(name), acquisition, evaluations=evaluations)
    found = list(search.run(seed))
    return Trace(
        data_set=data_set,
        optimiser=name,
        acquisition=acquisition,
        seed=seed,
        cells=[_number(each.places) for each in found],
        accuracies=[each.score for each in found],
        cpu_seconds=time.process_time() - began,
    )


def _number(places: Places) -> int:
    return int(number([places[1:-1]])[0])


def regrets(traces: list[Trace], data_set: str, best: float) -> dict[Pair, dict[int, Floats]]:
    """The regret after each evaluation, of each pair and seed.  pair → seed → (evaluations,)"""
    found: dict[Pair, dict[int, Floats]] = {}
    for each in traces:
        if each.data_set == data_set:
            found.setdefault((each.optimiser, each.acquisition), {})[each.seed] = regret(each.accuracies, best)
    return found


def reached(found: Mapping[Pair, Mapping[int, Floats]]) -> list[int]:
    """The marks that all searches got to."""
    shortest = min((len(each) for seeds in found.values() for each in seeds.values()), default=0)
    return [mark for mark in MARKS if mark <= shortest]


def regret_table(found: Mapping[Pair, Mapping[int, Floats]]) -> list[str]:
    """Mean regret at the marks with 95 % intervals, and how many reached the oracle."""
    marks = reached(found)
    lines = [
        "| optimiser | acquisition | seeds | " + " | ".join(f"regret at {mark}" for mark in marks) + " |",
        "| --- " * (3 + len(marks)) + "|",
    ]
    for (name, acquisition), seeds in sorted(found.items()):
        stacked = np.array(list(seeds.values()))
        cells = []
        for mark in marks:
            mean, low, high = mean_interval(stacked[:, mark - 1])
            cells.append(f"{mean:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})"))
        lines.append(f"| {name} | {acquisition} | {len(seeds)} | {' | '.join(cells)} |")
    return lines


def target_table(traces: list[Trace], data_set: str) -> list[str]:
    """Evaluations to the oracle: the median over seeds, those that never get there counted as later than the last."""
    lines = ["| optimiser | acquisition | reached | median evaluations |", "| --- | --- | --- | --- |"]
    pairs = sorted({(each.optimiser, each.acquisition) for each in traces if each.data_set == data_set})
    for pair in pairs:
        own = [each for each in traces if (each.data_set, each.optimiser, each.acquisition) == (data_set, *pair)]
        took = [evaluations_until(np.round(each.accuracies, 2), ORACLE[data_set]) for each in own]
        median = float(np.median([np.inf if each is None else each for each in took]))
        said = f"{median:g}" if np.isfinite(median) else f"more than {max(len(each.cells) for each in own)}"
        lines.append(f"| {' | '.join(pair)} | {sum(each is not None for each in took)}/{len(own)} | {said} |")
    return lines


def test_table(found: Mapping[Pair, Mapping[int, Floats]]) -> list[str]:
    """Paired tests of the optimisers in question, on the seeds that all of them have; corrected within a mark."""
    lines = [
        "| acquisition | at | a | b | regret of a - b | p, Holm | lower |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for acquisition in ACQUISITIONS_IN_QUESTION:
        ways = {name: found[name, acquisition] for name in IN_QUESTION if (name, acquisition) in found}
        shared = sorted(set.intersection(*(set(seeds) for seeds in ways.values()))) if len(ways) > 1 else []
        for mark in reached(found) if len(shared) > 1 else ():
            values = {name: np.array([seeds[seed][mark - 1] for seed in shared]) for name, seeds in ways.items()}
            for test in paired_tests(values):
                lower = {"a": test.a, "b": test.b, "undecided": "undecided"}[test.verdict]
                facts = f"{test.difference:+.3f} | {test.p_corrected:.3f} | {lower}"
                lines.append(f"| {acquisition} | {mark} | {test.a} | {test.b} | {facts} |")
    return lines


def markdown(traces: list[Trace], landscape: Landscape) -> str:
    """All tables."""
    lines: list[str] = []
    for data_set in STUDIED:
        found = regrets(traces, data_set, float(landscape.test(data_set).max()))
        lines += [f"## {data_set}", ""]
        for table in (regret_table(found), target_table(traces, data_set), test_table(found)):
            lines += [*table, ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, required=True, help="the CSV file of NAS-Bench-201's results")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, made or gone on with")
    parser.add_argument("--seeds", type=int, default=30, help="of the pairs in question")
    parser.add_argument("--seeds-elsewhere", type=int, default=10)
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS)
    parser.add_argument("--optimisers", default=",".join(OPTIMISERS))
    parser.add_argument("--print-only", action="store_true")
    asked = parser.parse_args()
    records, landscape = Records(asked.out, Trace), Landscape.read(asked.table)
    wanted = [key for key in keys(asked.seeds, asked.seeds_elsewhere) if key[1] in asked.optimisers.split(",")]
    for key in () if asked.print_only else records.missing(wanted, lambda each: each.key):
        records.add(trace(landscape, key, asked.evaluations))
    print(markdown(records.all, landscape))


if __name__ == "__main__":
    main()
