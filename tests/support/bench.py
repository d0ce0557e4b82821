"""A table of made-up numbers, for tests of what looks results up: 24 networks, two seeds each, five of the baseline."""

import random
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from searches import TinySearch

from agent.search.ending import Reason
from diffusion.cost.closed_form import cost
from diffusion.data.card import DataCard
from diffusion.settings import Protocol, ScoreProtocol, Settings, Strategy
from diffusion.space import SearchSpace
from diffusion.spec import UNetSpec
from diffusion.unetbench import table as tables
from diffusion.unetbench.table import Contents, NetworkRow, Table, TrainingRow, find_table, write_table
from tools.context import SearchContext
from tools.executors.tabular import TabularExecutor

NAME = "planted"
BASELINE = UNetSpec.parse("b16-n1-m1.2.2.2-a0100")
SPACE = SearchSpace(
    name=NAME,
    base_channel=(8, 16),
    num_blocks=(1, 2),
    channel_mult=((1,), (1, 2), (2,), (1, 2, 3)),
    attn=((False,), (True,), (False,), (False,)),
    baseline=BASELINE,
)
STEPS = (2, 4, 8)
SEEDS, BASELINE_SEEDS = 2, 5
PROTOCOL = Protocol(
    data_fingerprint="d" * 12,
    settings=Settings(dataset="digits", resolution=8, channels=1),
    strategy=Strategy(train_steps=STEPS[-1], batch_size=16, diffusion_steps=50),
    score=ScoreProtocol(
        feature_network="digits-cnn",
        feature_sha256="f" * 64,
        feature_input_size=8,
        resize_filter="bilinear-antialias",
        reference_count=1437,
        sampling_steps=4,
        num_images=16,
    ),
)


OPTIONS = dict.fromkeys(("baseline", "train_steps", "batch_size", "num_images", "sampling_steps")) | {
    "bench": NAME,
    "budget": "1G",
}
"""Of a `searches.TinySearch`: all that it sets otherwise is the table's."""


def contents(**changes: Any) -> Contents:
    """The table; its scores fall with width and steps, times a factor of each seed."""
    values = {
        "name": NAME,
        "made": "never",
        "steps": STEPS,
        "protocol": PROTOCOL,
        "card": DataCard(
            name="digits", resolution=8, channels=1, train_count=1437, test_count=360, fingerprint="d" * 12
        ),
        "space": SPACE,
        "networks": tuple(network_row(spec, BASELINE_SEEDS if spec == BASELINE else SEEDS) for spec in SPACE),
    }
    return Contents(**{**values, **changes})


def network_row(spec: UNetSpec, seeds: int) -> NetworkRow:
    known = cost(spec, "ddpm", 8, 1)
    trainings = tuple(_training(spec, seed) for seed in range(seeds))
    counts = {"macs_paper": known.macs.paper, "macs_total": known.macs.total, "params": known.params}
    return NetworkRow(spec=spec, **counts, trainings=trainings)


def _training(spec: UNetSpec, seed: int) -> TrainingRow:
    rng = random.Random(f"{spec} {seed}")
    scores = tuple(1000 / sum(spec.row) / step * rng.lognormvariate(0, 0.05) for step in STEPS)
    return TrainingRow(seed=seed, train_seconds=80.0, loss=0.5, scores=scores, score_seconds=(1.0, 1.0, 1.0))


def planted_in(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Table:
    """The table with changes, as the only one that there is."""
    write_table(contents(**changes), folder)
    monkeypatch.setattr(tables, "FOLDER", folder)
    return find_table(NAME)


def search_on(folder: Path, table: Table, **options: Any) -> TinySearch:
    """A search on the table, with the executor that `run` would have."""
    folder.mkdir(exist_ok=True)
    stop = Event()
    executor = TabularExecutor(table, options.get("seed", 0), stop)
    return TinySearch(folder, {**OPTIONS, "parallel": 1, **options}, executor=executor, stop=stop)


class Killed(BaseException):
    """As `kill -9` would, at a point that the test chose."""


def run_killed(
    search: TinySearch, at: str = "round.finished", each_round: Callable[[int], None] | None = None
) -> Reason:
    """Play a search that is killed at the first event of this name in each round, and goes on each time; why it ended.

    `each_round` is called at the event of each round, before it is killed.
    """
    make, met = search.make_context, set[int]()

    def killing(round_number: int, proposer: str) -> SearchContext:
        def die() -> None:
            if round_number not in met:
                met.add(round_number)
                if each_round:
                    each_round(round_number)
                raise Killed

        return make(round_number, proposer).watched(at, die)

    search.make_context = killing
    while True:
        try:
            return search.run()
        except Killed:
            continue


def quiet_with_tables(folder: Path, log: Path) -> None:
    """What a worker of a comparison begins with, where the tables lie in a folder of the test."""
    from agent.compare.play import _quiet

    tables.FOLDER = folder
    _quiet(log)
