"""The public yardstick: MLS-Bench's `optimization-nas`, thirty questions on NAS-Bench-201, against what is published.

``python benchmarks/nag/yardstick.py --table CSV --out yardstick.jsonl --seeds 100`` asks each way (`ways.py`) on
each data set with each seed, what is in the file left out, and prints the table; ``--ways gp,transfer`` fewer. A way
may ask thirty times for a validation accuracy, and what counts is the test accuracy of the cell that it returns.

The published figures are means of five seeds; their test column is of single trainings, this one's the mean of those in
the table.
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from diffusion.statistics.paired import Interval, mean_interval
from diffusion.streams import stream_seed
from landscape import SETS, Landscape
from records import Records
from ways import WAYS, Oracle, Task

PUBLISHED = {  # MLS-Bench, `optimization-nas`: means of five seeds, in the order of SETS
    "random, published": (93.38, 70.65, 44.57),
    "evolution (REA), published": (93.40, 70.43, 45.25),
    "BANANAS, published": (93.47, 71.03, 45.23),
    "language models, best final entry": (94.06, 71.96, 46.00),
    "language models, best of any attempt": (94.06, 72.32, 46.40),
}
BAR = "language models, best of any attempt"
Key = tuple[str, str, int]


class Outcome(BaseModel):
    """What one way returned."""

    way: str
    data_set: str
    seed: int
    cell: int  # its number
    validation: float  # percent
    test: float
    cpu_seconds: float

    @property
    def key(self) -> Key:
        return self.way, self.data_set, self.seed


def outcome(landscape: Landscape, way: str, data_set: str, seed: int) -> Outcome:
    """One way on one data set; what it draws depends on all three."""
    began = time.process_time()
    draws = np.random.default_rng(stream_seed(seed, "yardstick", way, data_set))
    oracle = Oracle(landscape.validation(data_set))
    cell = WAYS[way](Task(oracle, landscape, data_set, draws))
    return Outcome(
        way=way,
        data_set=data_set,
        seed=seed,
        cell=cell,
        validation=float(landscape.validation(data_set)[cell]),
        test=float(landscape.test(data_set)[cell]),
        cpu_seconds=time.process_time() - began,
    )


def markdown(outcomes: list[Outcome]) -> str:
    """The table: test accuracy of the returned cell, means over seeds with 95 % intervals."""
    lines = [f"| {' | '.join(['way', 'seeds', *SETS])} |", "| --- | --- | --- | --- | --- |"]
    for name, figures in PUBLISHED.items():
        lines.append(f"| {name} | 5 | {' | '.join(f'{each:.2f}' for each in figures)} |")
    for way in dict.fromkeys(each.way for each in outcomes):
        found = [[each.test for each in outcomes if (each.way, each.data_set) == (way, name)] for name in SETS]
        cells = [
            written(mean_interval(np.array(values)), bar) if values else ""
            for values, bar in zip(found, PUBLISHED[BAR], strict=True)
        ]
        lines.append(f"| {way} | {min(map(len, found))} | {' | '.join(cells)} |")
    return "\n".join(lines)


def written(interval: Interval, bar: float) -> str:
    """A mean with its interval, bold where all of that is above every published figure."""
    if interval.low is None:
        return f"{interval.mean:.2f}"
    if interval.low == interval.high:
        return f"{interval.mean:.2f} (the same for every seed)"
    text = f"{interval.mean:.2f} ({interval.low:.2f} to {interval.high:.2f})"
    return f"**{text}**" if interval.low > bar else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, required=True, help="the CSV file of NAS-Bench-201's results")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, made or gone on with")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--ways", default=",".join(WAYS))
    asked = parser.parse_args()
    records = Records(asked.out, Outcome)
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    wanted = [(way, name, seed) for seed, way, name in itertools.product(seeds, asked.ways.split(","), SETS)]
    landscape = Landscape.read(asked.table)
    for way, name, seed in records.missing(wanted, lambda each: each.key):
        records.add(outcome(landscape, way, name, seed))
    chosen = set(wanted)
    print(markdown([each for each in records.all if each.key in chosen]))


if __name__ == "__main__":
    main()
