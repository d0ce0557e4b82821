"""``--dry-run``: the resolved settings with their sources and what the search would compute; nothing is written.

Seconds are not guessed: how fast a machine is has to be measured on it.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from agent.config import Resolved
from agent.search import Plan, jobs_of, plan
from agent.tables import print_settings, say
from diffusion.cost import cost
from diffusion.memory_estimate import peak_bytes
from diffusion.settings import TrainJob
from diffusion.spec import UNetSpec
from diffusion.units import format_size
from memory.connection import check_memory
from tools.machine import Share, this_machine

MIB = 2**20
BACKWARD_FACTOR = 3  # forward plus twice as much for the backward pass


def estimate(resolved: Resolved, spec: UNetSpec | None = None) -> dict[str, Any]:
    """Settings, sources, baseline and MACs of the whole search; the data are checked in a folder thrown away.

    With a `spec`, of its training by hand alone.
    """
    config = resolved.config.model_copy(update={"rounds": 0, "parallel": 1} if spec else {})
    check_memory(config.db)
    with tempfile.TemporaryDirectory() as folder:
        planned = plan(config.model_copy(update={"out": Path(folder)}), spec)
        jobs = jobs_of(config, this_machine()) if config.executor == "local" else None
        memory_bytes = memory_bytes_of(planned, jobs)
    return {
        "settings": Resolved(config, resolved.sources).shown(),
        "baseline": str(planned.baseline),
        "space_size": config.search_space.size,
        "protocol": planned.protocol.fingerprint,
        "metric": planned.protocol.score.metric,
        "notes": list(planned.notes),
        "jobs": jobs and asdict(jobs),
        "memory_bytes": memory_bytes,
        "cost": costs_of(planned),
    }


def memory_bytes_of(planned: Plan, jobs: Share | None) -> int:
    """The most that each process of the baseline's training takes, by the closed form, beyond what it had before."""
    settings, strategy = planned.protocol.settings, planned.protocol.strategy
    job = TrainJob(
        spec=planned.baseline,
        settings=settings,
        strategy=strategy,
        seed=planned.config.seed,
        data_fingerprint=planned.protocol.data_fingerprint,
        data_folder=planned.config.out / "data",
        run_folder=planned.config.out,
        processes=planned.config.nproc,
    )
    known = cost(job.spec, settings.family, settings.resolution, settings.channels)
    return peak_bytes(job, known, jobs.device if jobs else "cpu")


def costs_of(planned: Plan) -> dict[str, int]:
    """MACs of one trial at the baseline's cost, and the most the whole search can take at the budget."""
    config, settings = planned.config, planned.protocol.settings
    baseline = cost(planned.baseline, settings.family, settings.resolution, settings.channels).macs.by(config.count)
    images_trained = config.train_steps * config.batch_size
    images_denoised = config.num_images * config.sampling_steps
    passes = BACKWARD_FACTOR * images_trained + images_denoised
    return {
        "baseline_macs": baseline,
        "baseline_trial_macs": baseline * passes,
        "search_macs_at_most": baseline * passes + config.rounds * config.budget * passes,
        "images_trained_per_trial": images_trained,
        "images_sampled_per_trial": config.num_images,
    }


def print_estimate(console: Console, found: dict[str, Any]) -> None:
    """The settings as a table, then the costs."""
    print_settings(console, found["settings"])
    costs = found["cost"]
    say(
        console,
        f"\nBaseline {found['baseline']}: {format_size(costs['baseline_macs'])} MACs an image, "
        f"{format_size(costs['baseline_trial_macs'])} MACs for its training and score; the whole search at most "
        f"{format_size(costs['search_macs_at_most'])} MACs, over {found['space_size']:,} specs.\n"
        f"Scores: {found['metric']}, protocol {found['protocol']}. Nothing was written.",
    )
    if jobs := found["jobs"]:
        say(
            console,
            f"Trainings: {jobs['parallel']} at once, each with {jobs['processes']} process(es) of "
            f"{jobs['threads']} thread(s).",
        )
    say(console, f"Memory of the baseline's training: {found['memory_bytes'] / MIB:,.0f} MiB for each process.")
    for note in found["notes"]:
        say(console, f"Note: {note}.")
