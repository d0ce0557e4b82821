"""A memory with something for every part of a page, and what a parsed page holds; nothing was trained."""

from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from ended_search import begun, digits_protocol
from sqlite_utils import Database

from diffusion.cost.closed_form import cost
from diffusion.scores.grids import save_grid
from diffusion.settings import Protocol, TrainJob
from diffusion.spec import UNetSpec
from memory.connection import opened
from memory.directives import add_directive
from memory.ledger import charge
from memory.replicas import add_replica, replica_scored, write_verdict
from memory.scores import add_score
from memory.searches import create_search, find_search
from memory.trainings import add_to_curve, training_failed, training_finished
from memory.trials import find_trial, record_refusal, trial_failed, trial_scored, trial_trained

NAME = "shown"
TRIALS = (
    ("b8-n1-m1.1.1.1-a0000", 100.0),
    ("b8-n1-m1.1.1.2-a0000", 80.0),
    ("b8-n2-m1.1.1.2-a0000", 60.0),
    ("b16-n1-m1.1.1.2-a0000", None),
    ("b8-n1-m1.1.1.2-a0100", 120.0),
)
BASELINE, BEST = 1, 3
BASELINE_SEEDS = (100.0, 110.0, 90.0)
BUDGET = 2_000_000
POINTS = [(20, 0.9), (40, 0.3), (60, 0.2)]


def page_memory(folder: Path, text: str = "a plain word") -> Path:
    """The memory, in which every text that somebody else may have written is `text`."""
    protocol = digits_protocol()
    named = protocol.settings.model_copy(update={"dataset": text})
    protocol = protocol.model_copy(update={"settings": named})
    path = folder / "diffnas.db"
    with opened(path) as db:
        search = create_search(
            db, name=NAME, budget_macs=BUDGET, count_convention="paper", rounds=9, seed=0, searcher="llm",
            backend=text, protocol=protocol, config={"replicas": 3, "race_trainings": 0},
        )  # fmt: skip
        for number, (spec, value) in enumerate(TRIALS):
            add_trial(db, search, number, UNetSpec.parse(spec), value, protocol, folder, text)
        add_replicas(db, search, protocol, folder)
        record_refusal(
            db, search, 2, proposer=text, raw_text=text, spec=None, reason=None, refusal=text, kind="malformed"
        )
        add_directive(db, search, "mode", {"mode": "explore"}, text, author=text)
        charge(db, search, "wall", wall_seconds=12.0, note=text)
        db.conn.execute("UPDATE searches SET reason = ? WHERE id = ?", [text, search])
    return path


def add_trial(
    db: Database, search: int, number: int, spec: UNetSpec, value: float | None, protocol: Protocol, folder: Path,
    text: str,
) -> None:  # fmt: skip
    """One trial, with its curve and its grid; failed without a value."""
    accepted = begun(db, search, number, spec, protocol, folder, "baseline" if number == 0 else text, text)
    if value is None:
        training_failed(db, accepted.training, text, 1.0)
        trial_failed(db, accepted.trial, text)
        return
    add_to_curve(db, accepted.training, POINTS)
    training_finished(db, accepted.training, steps_done=60, loss=0.2, device_seconds=30.0)
    trial_trained(db, accepted.trial)
    add(db, accepted.training, protocol, value, seed=0)
    trial_scored(db, accepted.trial)
    grid = folder / str(spec) / f"samples-{protocol.fingerprint}-0.png"
    grid.parent.mkdir(parents=True, exist_ok=True)
    save_grid(np.random.default_rng(number).integers(0, 256, (4, 1, 8, 8), dtype=np.uint8), grid)
    if number:
        said = {"baseline": "better" if value < 70 else "inconclusive", "incumbent": "inconclusive"}
        why = {"why_baseline": text, "why_incumbent": text}
        bounds = {"ci_low": value * 0.8, "ci_high": value * 1.25, "noise_cv": 0.1, "degrees_of_freedom": 2}
        write_verdict(db, accepted.trial, {**said, **why, **bounds})


def add_replicas(db: Database, search: int, protocol: Protocol, folder: Path) -> None:
    """The baseline with two further seeds."""
    first = find_trial(db, BASELINE)
    known = cost(first.spec, "ddpm", 8, 1)
    counts = {"macs_paper": known.macs.paper, "macs_total": known.macs.total, "params": known.params}
    for seed, value in enumerate(BASELINE_SEEDS[1:], start=1):
        job = TrainJob(
            spec=first.spec, settings=protocol.settings, strategy=protocol.strategy, seed=seed,
            data_fingerprint=protocol.data_fingerprint, data_folder=folder, run_folder=folder / f"seed-{seed}",
        )  # fmt: skip
        replica = add_replica(db, search, first.id, job, counts)
        training_finished(db, replica.training, steps_done=60, loss=0.2, device_seconds=30.0)
        add(db, replica.training, protocol, value, seed=seed)
        replica_scored(db, replica.id)


def add(db: Database, training: int, protocol: Protocol, value: float, seed: int) -> None:
    """A score under the search's protocol."""
    add_score(
        db, training, step=protocol.strategy.train_steps, protocol=protocol, sampling_seed=seed,
        metric=protocol.score.metric, value=value, num_images=16, device_seconds=2.0,
    )  # fmt: skip


def of_kind(db: Database, kind: Any, **config: Any) -> int:
    """A search of a kind without any trial."""
    name = f"{kind}-empty"
    create_search(
        db, name=name, budget_macs=BUDGET, count_convention="total", rounds=3, seed=0, kind=kind, searcher="llm",
        backend="offline", protocol=digits_protocol(), config=config,
    )  # fmt: skip
    return find_search(db, name).id


@dataclass
class Parsed(HTMLParser):
    """The elements, attributes and texts of a page, as a parser reads it."""

    elements: Counter[str] = field(default_factory=Counter)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)  # element, name, value
    texts: dict[str, list[str]] = field(default_factory=dict)  # by element
    ids: list[str] = field(default_factory=list)
    inside: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.inside = tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.inside, []).append(data)


def parsed(text: str) -> Parsed:
    found = Parsed()
    found.feed(text)
    found.close()
    return found
