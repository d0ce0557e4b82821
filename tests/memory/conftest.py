"""A memory in a temporary file, and short ways to fill it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlite_utils import Database

from diffusion.settings import Protocol, ScoreProtocol, Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec
from memory import scores, trainings, trials
from memory.connection import opened
from memory.searches import create_search

ROOT = Path(__file__).parents[2]
SPEC = UNetSpec.parse("b16-n1-m1.2.2.2-a0100")


class Filler:
    """Rows with sensible values; whatever a test is about, it names itself."""

    spec = SPEC

    def __init__(self, db: Database) -> None:
        self.db = db
        self.protocol = self.make_protocol()

    def make_protocol(
        self, dataset: str = "digits", train_steps: int = 600, family: Literal["ddpm", "iddpm"] = "ddpm"
    ) -> Protocol:
        return Protocol(
            data_fingerprint="d" * 12,
            settings=Settings(dataset=dataset, resolution=8, channels=1, family=family),
            strategy=Strategy(train_steps=train_steps),
            score=ScoreProtocol(
                feature_network="digits-cnn",
                feature_sha256="f" * 64,
                feature_input_size=8,
                resize_filter="none",
                reference_count=1437,
                sampling_steps=50,
                num_images=1000,
            ),
        )

    def job(self, spec: UNetSpec = SPEC, seed: int = 0, folder: Path = Path("runs")) -> TrainJob:
        return TrainJob(
            spec=spec,
            settings=self.protocol.settings,
            strategy=self.protocol.strategy,
            seed=seed,
            data_fingerprint=self.protocol.data_fingerprint,
            data_folder=Path("data"),
            run_folder=folder / f"{spec}-{seed}",
        )

    def search(self, **changes: Any) -> int:
        values: dict[str, Any] = {
            "name": None,
            "budget_macs": 1_000_000,
            "count_convention": "paper",
            "rounds": 5,
            "seed": 0,
            "searcher": "llm",
            "backend": "offline",
            "protocol": self.protocol,
            "config": {},
        }
        return create_search(self.db, **{**values, **changes})

    def accept(
        self,
        search: int,
        round_number: int,
        spec: UNetSpec | str = SPEC,
        macs: int = 1000,
        seed: int = 0,
        **changes: Any,
    ) -> trials.AcceptedTrial:
        spec = UNetSpec.parse(spec)
        values: dict[str, Any] = {
            "proposer": "offline",
            "raw_text": str(spec),
            "reason": "a try",
            "job": self.job(spec, seed),
            "costs": {"macs_paper": macs, "macs_total": macs + 10, "params": 500},
        }
        return trials.accept_proposal(self.db, search, round_number, **{**values, **changes})

    def refuse(self, search: int, round_number: int, **changes: Any) -> int:
        values: dict[str, Any] = {
            "proposer": "offline",
            "raw_text": "{",
            "spec": None,
            "reason": None,
            "refusal": "not a spec",
            "kind": "malformed",
        }
        return trials.record_refusal(self.db, search, round_number, **{**values, **changes})

    def score(
        self,
        training: int,
        value: float | None,
        sampling_seed: int = 0,
        protocol: Protocol | None = None,
        **changes: Any,
    ) -> int:
        protocol = protocol or self.protocol
        values: dict[str, Any] = {
            "step": protocol.strategy.train_steps,
            "metric": protocol.score.metric,
            "num_images": 1000,
            "device_seconds": 2.0,
            "extra": {},
        }
        changed = {**values, **changes}
        return scores.add_score(
            self.db, training, protocol=protocol, sampling_seed=sampling_seed, value=value, **changed
        )

    def finish(self, accepted: trials.AcceptedTrial, value: float | None) -> int:
        """Train and score an accepted trial; gives its number."""
        trainings.training_started(self.db, accepted.training)
        trainings.training_finished(self.db, accepted.training, steps_done=600, loss=0.1, device_seconds=30.0)
        trials.trial_trained(self.db, accepted.trial)
        self.score(accepted.training, value)
        trials.trial_scored(self.db, accepted.trial)
        return accepted.trial

    def scored(
        self, search: int, round_number: int, spec: UNetSpec | str, value: float | None, macs: int = 1000
    ) -> int:
        return self.finish(self.accept(search, round_number, spec, macs), value)

    def failed(self, search: int, round_number: int, spec: UNetSpec | str, error: str = "out of memory") -> int:
        accepted = self.accept(search, round_number, spec)
        trainings.training_failed(self.db, accepted.training, error, 1.0)
        trials.trial_failed(self.db, accepted.trial, error)
        return accepted.trial

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.db.conn.execute(query)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    with opened(path) as database:
        yield database


@pytest.fixture
def fill(db: Database) -> Filler:
    return Filler(db)


@pytest.fixture
def search(fill: Filler) -> int:
    return fill.search()


Child = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def child(path: Path) -> Iterator[Child]:
    """Starts Python code in a process of its own; it finds the memory's path in sys.argv[1]."""
    started = []

    def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path), *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
