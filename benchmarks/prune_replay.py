"""Early stopping on real trainings: whole learning curves of the embedded digits, replayed 500 times under the rule.

``python benchmarks/prune_replay.py --out runs-curves`` trains so many random specs of the space within the preset's
budget, each to its end and two at a time, scores each at the rungs and at the end as a search does, and writes
``benchmarks/digits_curves.json``. Killed and started again it goes on. ``--replay`` only reads that file: it plays
searches of all these candidates in 500 random orders and prints which share of the device-seconds, the scoring at the
rungs included, the default rule saves, and how often it stops the one that would have been best.
"""

import argparse
import json
import os
import platform
import random
import statistics
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from agent.config.sources import resolve
from agent.search.plan import Plan, plan
from diffusion.cost.closed_form import cost
from diffusion.cost.throughput import device_name
from diffusion.settings import Protocol, ScoreJob, TrainJob, training_key
from diffusion.spec import UNetSpec
from diffusion.statistics.pruning import DEFAULT, Curve, Replay, Rule, replay, rung_protocol
from tools.executors.local import LocalExecutor

CURVES = Path(__file__).parent / "digits_curves.json"
TRAIN_STEPS = 1200  # twice the preset's: a search that stops early is one of long trainings
REPLAYS = 500


def candidates(planned: Plan, count: int) -> list[UNetSpec]:
    """The baseline, then random specs within the budget, each once."""
    config, settings = planned.config, planned.protocol.settings
    rng, found = random.Random(0), [planned.baseline]
    while len(found) < count:
        spec = config.search_space.sample(rng)
        macs = cost(spec, settings.family, settings.resolution, settings.channels).macs.by(config.search.count)
        if macs <= config.search.budget and spec not in found:
            found.append(spec)
    return found


def curve_of(planned: Plan, executor: LocalExecutor, out: Path, spec: UNetSpec) -> dict[str, Any]:
    """Train a spec to its end, rung by rung, and score it at each; what it scored and what it cost."""
    protocol = planned.protocol
    key = training_key(spec, protocol.settings, protocol.strategy, 0, protocol.data_fingerprint)
    job = TrainJob(
        spec=spec,
        settings=protocol.settings,
        strategy=protocol.strategy,
        seed=0,
        data_fingerprint=protocol.data_fingerprint,
        data_folder=(out / "data").absolute(),
        run_folder=(out / "trainings" / key).absolute(),
        checkpoint_steps=planned.config.jobs.checkpoint_steps,
    )
    kept = job.run_folder / "curve.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    curve, look_seconds = {}, 0.0
    for rung in DEFAULT.rungs(protocol.strategy.train_steps):
        executor.train(job.model_copy(update={"until_step": rung}), lambda event: None)
        looked = executor.evaluate(score_job(job, rung_protocol(protocol, rung), out), lambda event: None)
        curve[rung] = looked["value"]
        look_seconds += looked["device_seconds"]
    trained = executor.train(job, lambda event: None)
    scored = executor.evaluate(score_job(job, protocol, out), lambda event: None)
    curve[trained["step"]] = scored["value"]
    found = {
        "spec": str(spec),
        "curve": curve,
        "train_seconds": trained["device_seconds"],
        "look_seconds": look_seconds / len(DEFAULT.fractions),
        "score_seconds": scored["device_seconds"],
    }
    kept.write_text(json.dumps(found))
    print(f"{spec}: {curve}", flush=True)
    return found


def score_job(job: TrainJob, protocol: Protocol, out: Path) -> ScoreJob:
    """The scoring of a training under a protocol."""
    return ScoreJob(
        run_folder=job.run_folder,
        spec=job.spec,
        data_folder=job.data_folder,
        cache_folder=(out / "reference").absolute(),
        protocol=protocol,
    )


def measure(out: Path, count: int) -> None:
    """Train and score all candidates, and write their curves."""
    config = resolve({"preset": "digits", "train_steps": TRAIN_STEPS, "out": out, "db": out / "unused.db"}).config
    planned = plan(config)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(partial(curve_of, planned, LocalExecutor(Event()), out), candidates(planned, count)))
    content = {
        "date": str(date.today()),
        "machine": f"{device_name('cpu')}, {os.cpu_count()} cores, two trainings at once of one thread each",
        "metric": planned.protocol.score.metric,
        "protocol": planned.protocol.fingerprint,
        "train_steps": TRAIN_STEPS,
        "candidates": found,
    }
    CURVES.write_text(json.dumps(content, indent=1) + "\n")


def replays(content: dict[str, Any], rule: Rule, count: int = REPLAYS) -> list[Replay]:
    """Searches of all the candidates, the first of them the baseline, in so many random orders."""
    rows = content["candidates"]
    curves: list[Curve] = [{int(step): value for step, value in row["curve"].items()} for row in rows]
    return [
        replay(
            curves,
            rule,
            seed,
            seconds_a_step=[row["train_seconds"] / content["train_steps"] for row in rows],
            seconds_a_look=[row["look_seconds"] for row in rows],
            seconds_at_end=[row["score_seconds"] for row in rows],
            baseline=0,
        )
        for seed in range(count)
    ]


def report(content: dict[str, Any]) -> None:
    """What the default rule would have done."""
    found = replays(content, DEFAULT)
    saved = [one.saved_share for one in found]
    low, middle, high = statistics.quantiles(saved, n=4)
    print(f"{content['date']}, {content['machine']}")
    print(f"{len(content['candidates'])} candidates of {content['train_steps']} steps, {content['metric']}, {DEFAULT}")
    print(f"{REPLAYS} replays: {middle:.1%} of the device-seconds saved (quartiles {low:.1%} to {high:.1%}),")
    print(
        f"mean {statistics.mean(saved):.1%}; the best stopped in {sum(one.best_pruned for one in found)}; "
        f"{statistics.mean(len(one.pruned) for one in found):.1f} stopped on average"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs-curves"))
    parser.add_argument("--candidates", type=int, default=18)
    parser.add_argument("--replay", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}")
    if not arguments.replay:
        measure(arguments.out, arguments.candidates)
    report(json.loads(CURVES.read_text()))


if __name__ == "__main__":
    main()
