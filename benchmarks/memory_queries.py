"""How long a large memory takes to answer: 100,000 trials in one search, and the same over 1,000 searches.

The rows are made up and written in bulk: specs of the paper's space with random scores, one in twelve failed or
pruned, one proposal in six refused, three uses of the ledger a trial; the journal is left empty. Questions are asked of
the last search, as a search and its commands do; commands are whole processes. ``--keep FOLDER`` keeps the memories and
takes those that are there.
"""

import argparse
import os
import platform
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from sqlite_utils import Database

from agent.searchers.model.digest import round_values
from diffusion.networks import network
from diffusion.settings import Protocol, ScoreProtocol, Settings, Strategy
from diffusion.space import built_in
from diffusion.spec import UNetSpec
from memory.connection import Memory, opened
from memory.ledger import charge
from memory.queries.effect import effect
from memory.queries.progress import failures, remaining
from memory.queries.records import best, pareto, top_records
from memory.queries.similar import similar
from memory.schema.standings import standings_of, totals_of
from memory.searches import create_search
from tools.context import Jobs, SearchContext, SearchLimits

ROOT = Path(__file__).parents[1]
BUDGET_MACS = 6_000_000_000
REPLICAS = 2
NOW = "2026-11-21T00:00:00.000+00:00"
ASKED = UNetSpec.parse("b128-n2-m1.2.2.2-a0100")  # DDPM's, the centre of the paper's space

PROTOCOL = Protocol(
    data_fingerprint="d" * 12,
    settings=Settings(dataset="made-up", resolution=32, channels=3),
    strategy=Strategy(train_steps=5000),
    score=ScoreProtocol(
        feature_network="digits-cnn",
        feature_sha256="f" * 64,
        feature_input_size=32,
        resize_filter="none",
        reference_count=10_000,
        sampling_steps=50,
        num_images=1000,
    ),
)


def make_memory(path: Path, trials: int, searches: int) -> None:
    """A memory of so many trials, as evenly as can be in so many searches, all of one protocol."""
    with opened(path) as db:
        triggers = [row["sql"] for row in db.conn.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'")]
        for number in range(searches):
            create_search(
                db, name=f"search-{number}", budget_macs=BUDGET_MACS, count_convention="paper", rounds=trials, seed=0,
                searcher="llm", backend="offline", protocol=PROTOCOL, config={},
            )  # fmt: skip
        for row in db.conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.conn.execute(f"DROP TRIGGER {row['name']}")
        db.conn.execute("BEGIN")
        for table, rows in made_up(trials, searches).items():
            marks = ", ".join(f":{name}" for name in rows[0])
            db.conn.executemany(f"INSERT INTO {table} ({', '.join(rows[0])}) VALUES ({marks})", rows)
        for statement in (standings_of("true"), totals_of("true"), *triggers, "COMMIT"):
            db.conn.execute(statement)


def made_up(trials: int, searches: int) -> dict[str, list[dict[str, Any]]]:
    """Rows by table, in the order in which they may be written."""
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("proposals", "trainings", "trials", "scores", "verdicts", "replicas", "ledger")
    }
    draws = random.Random(0)
    for number, spec in enumerate(islice(specs(draws), trials)):
        search = number * searches // trials
        first = -(-search * trials // searches)  # the smallest number of that search
        add_trial(tables, draws, number + 1, search + 1, number - first, spec)
    return tables


def specs(draws: random.Random) -> Iterator[UNetSpec]:
    """The specs of the paper's space in random order, again and again."""
    rows = built_in("images-32").rows()
    order = list(range(len(rows)))
    draws.shuffle(order)
    return (UNetSpec.from_row(rows[index]) for index in cycle(order))


def add_trial(
    tables: dict[str, list[dict[str, Any]]],
    draws: random.Random,
    trial: int,
    search: int,
    round_number: int,
    spec: UNetSpec,
) -> None:
    """One trial with all that hangs on it; round 0 is scored, and has its replicas."""
    state = "scored" if round_number == 0 else draws.choices(("scored", "failed", "pruned"), (22, 1, 1))[0]
    proposal = add_proposals(tables["proposals"], search, round_number, spec, is_refused_first=trial % 5 == 0)
    training = add_training(
        tables, draws, spec, seed=(trial - 1) // built_in("images-32").size, is_scored=state == "scored"
    )
    tables["trials"].append(
        {
            "id": trial, "search": search, "round": round_number, "proposal": proposal, "training": training,
            "state": state, "cached": 0, "created": NOW, "finished": NOW,
            "error": None if state == "scored" else "it was behind its peers",
        }
    )  # fmt: skip
    if state == "scored":
        words = {"baseline": "inconclusive", "incumbent": "worse", "why_baseline": "", "why_incumbent": ""}
        tables["verdicts"].append({"trial": trial, "ci_low": 1.0, "ci_high": 99.0, **words, "created": NOW})
    for seed in range(1, REPLICAS + 1) if round_number == 0 else ():
        replica = add_training(tables, draws, spec, seed=1000 + seed, is_scored=True)
        values = {"search": search, "trial": trial, "training": replica, "state": "scored", "created": NOW}
        tables["replicas"].append({**values, "finished": NOW})
    for kind in ("model", "train", "score"):
        tables["ledger"].append(
            {
                "search": search, "created": NOW, "kind": kind, "device_seconds": 1.5, "wall_seconds": 2.5,
                "input_tokens": 900, "output_tokens": 100, "cost_usd": 0.001, "note": f"trial {trial}",
            }
        )  # fmt: skip


def add_proposals(
    proposals: list[dict[str, Any]], search: int, round_number: int, spec: UNetSpec, *, is_refused_first: bool
) -> int:
    """The proposal of a trial, behind one that was refused or alone; gives its id."""
    accepted: dict[str, Any] = {
        "search": search, "round": round_number, "created": NOW, "proposer": "llm", "raw_text": f"{spec}",
        "spec": str(spec), "reason": "A narrower network with attention where it is cheap.",
    }  # fmt: skip
    if is_refused_first:
        refusal = {"accepted": 0, "refusal": "over the budget", "refusal_kind": "over_budget", "attempt": 1}
        proposals.append({"id": len(proposals) + 1, **accepted, **refusal})
    proposals.append(
        {"id": len(proposals) + 1, **accepted, "accepted": 1, "refusal": None, "refusal_kind": None, "attempt": 2}
    )
    return len(proposals)


def add_training(
    tables: dict[str, list[dict[str, Any]]], draws: random.Random, spec: UNetSpec, *, seed: int, is_scored: bool
) -> int:
    """A training that is done, with a score if it has one; gives its id."""
    training = len(tables["trainings"]) + 1
    width = sum(spec.channels)
    values: dict[str, Any] = {
        "family": "ddpm", "dataset": "made-up", "data_fingerprint": PROTOCOL.data_fingerprint,
        "strategy_json": PROTOCOL.strategy.model_dump_json(), "settings_json": PROTOCOL.settings.model_dump_json(),
        "state": "done", "steps_done": 5000, "loss": 0.1, "device_seconds": 30.0, "created": NOW, "finished": NOW,
        "macs_paper": width**2 * spec.num_blocks * 1000, "macs_total": width**2 * spec.num_blocks * 1010,
        "params": width**2 * 9,
    }  # fmt: skip
    key = f"{training:012x}"
    names = {
        "id": training,
        "key": key,
        "spec": str(spec),
        "network": network(spec, "ddpm"),
        "seed": seed,
        "run_folder": f"runs/{key}",
    }
    tables["trainings"].append({**names, **spec.numbers, **values})
    if is_scored:
        tables["scores"].append(
            {
                "training": training, "step": 5000, "protocol": PROTOCOL.fingerprint, "sampling_seed": 0,
                "metric": PROTOCOL.score.metric, "value": draws.lognormvariate(3.0, 0.5) * 1000 / width,
                "num_images": 1000, "device_seconds": 2.0, "extra_json": "{}", "created": NOW,
            }
        )  # fmt: skip
    return training


def questions(db: Database, search: int) -> dict[str, Callable[[], object]]:
    """What a search, a model or a person asks, by name."""
    limits = SearchLimits(built_in("images-32"), BUDGET_MACS, "paper", PROTOCOL)
    context = SimpleNamespace(search=search, limits=limits, round_number=1, db=db, jobs=Jobs(Path(), seed=0))
    return {
        "best": lambda: best(db, search),
        "top": lambda: top_records(db),
        "pareto": lambda: pareto(db, search),
        "similar": lambda: similar(db, search, ASKED),
        "failures": lambda: failures(db, search),
        "remaining": lambda: remaining(db, search),
        "effect of base_channel": lambda: effect(db, search, "base_channel"),
        "effect of width_0": lambda: effect(db, search, "width_0"),
        "effect of attn_0": lambda: effect(db, search, "attn_0"),
        "the whole digest": lambda: round_values(db, cast(SearchContext, context)),
    }


def commands(path: Path) -> dict[str, Callable[[], object]]:
    """The commands that look at a memory, each as a process."""

    def run(*words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "agent", *words, "--db", str(path)], cwd=ROOT, check=True, capture_output=True
        )

    return {"`status`": lambda: run("status"), "`memory top`": lambda: run("memory", "top")}


def writes(memory: Memory, search: int) -> dict[str, Callable[[], object]]:
    """One insert, with the memory opened for it and with one that is open."""

    def opened_for_it() -> None:
        with opened(memory.path) as db:
            charge(db, search, "train")

    return {
        "open, insert, close": opened_for_it,
        "insert into an open memory": lambda: charge(memory.db, search, "train"),
    }


def milliseconds(work: Callable[[], object], turns: int) -> float:
    """The median of some turns."""
    found = []
    for _ in range(turns):
        started = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - started))
    return statistics.median(found)


def measure(path: Path, searches: int, turns: int) -> dict[str, float]:
    """Milliseconds by question, command and write."""
    with opened(path, read_only=True) as db:
        found = {name: milliseconds(work, turns) for name, work in questions(db, searches).items()}
    found |= {name: milliseconds(work, turns) for name, work in commands(path).items()}
    with Memory(path) as memory:
        return found | {name: milliseconds(work, 10 * turns) for name, work in writes(memory, searches).items()}


def report(columns: dict[str, dict[str, float]]) -> None:
    """Rows for docs/benchmarks.md."""
    print(f"| milliseconds | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for name in next(iter(columns.values())):
        print(f"| {name} | {' | '.join(f'{found[name]:.2g}' for found in columns.values())} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--searches", type=int, nargs="+", default=[1, 1000], help="one memory for each")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="a folder for the memories, or with them")
    asked = parser.parse_args()
    print(
        f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},"
        f" SQLite {sqlite3.sqlite_version}"
    )
    with tempfile.TemporaryDirectory() as folder:
        columns = {}
        for searches in asked.searches:
            path = (asked.keep or Path(folder)) / f"{asked.trials}-in-{searches}.db"
            if not path.exists():
                half = path.with_suffix(".half")
                half.unlink(missing_ok=True)
                make_memory(half, asked.trials, searches)
                half.rename(path)
            columns[f"{asked.trials:,} trials in {searches:,}"] = measure(path, searches, asked.turns)
    report(columns)


if __name__ == "__main__":
    main()
