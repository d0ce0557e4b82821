"""A training that is killed at instants that nobody chose ends with the weights of one that was left alone."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from trainings import Process, newest, prepared_job, same, wait_until_dead

from diffusion.settings import TrainJob
from diffusion.spec import UNetSpec
from diffusion.training.checkpoint import newest_checkpoint

TINY = UNetSpec.parse("b4-n1-m1.2.2.2-a0100")
INTERVAL = 20  # steps from one checkpoint to the next
SEED = 20261121


def harass(job: TrainJob, rng: random.Random, longest_seconds: float) -> int:
    """Start a job, kill one of its processes at a random instant after it has begun; the last step it told of."""
    process = Process(job)
    step = process.next_line().get("step", 0)
    ranks = process.ranks() if job.processes > 1 else []
    time.sleep(rng.uniform(0, longest_seconds))
    os.kill(rng.choice([process.process.pid, *ranks]), signal.SIGKILL)
    process.wait()
    wait_until_dead(ranks)
    return max([step, *(line["step"] for line in process.said("progress"))])


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("processes", "kills"), [(1, 20), (2, 20)])
def test_killed_at_random_instants_it_ends_with_the_same_bits(processes: int, kills: int, tmp_path: Path) -> None:
    job = prepared_job(
        tmp_path,
        spec=TINY,
        dropout=0.2,
        train_steps=2000,
        processes=processes,
        checkpoint_steps=INTERVAL,
        log_steps=1,
    )
    straight = job.model_copy(update={"run_folder": tmp_path / "straight"})
    assert Process(straight).wait(timeout_seconds=900) == 0
    rng = random.Random(SEED)
    lives = 0
    while lives < kills and not (job.run_folder / "result.json").exists():
        told = harass(job, rng, longest_seconds=1.0)
        found = newest_checkpoint(job.run_folder)
        assert told - (found.step if found else 0) <= INTERVAL
        lives += 1
    assert lives > kills // 2, "it ended before it was killed often enough; train longer"
    assert Process(job).wait(timeout_seconds=900) == 0
    assert same(newest(job), newest(straight))
