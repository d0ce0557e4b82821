"""Real trainings and scores in forks of a warm server: the same bits as in fresh processes, and the same ends."""

import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from trainings import newest, prepared_job, same

from diffusion.scores.networks import score_network
from diffusion.settings import Protocol, ScoreJob, ScoreProtocol, TrainJob
from diffusion.spec import UNetSpec
from tools.errors import Interrupted, JobFailed
from tools.executors import warm
from tools.executors.local import LocalExecutor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux alone"),
]

TINY = UNetSpec.parse("b4-n1-m1.2.2.2-a0100")


@pytest.fixture(scope="module", autouse=True)
def servers() -> Iterator[warm.Servers]:
    """One server for all of these, which has imported what jobs need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warm, "SERVERS", made := warm.Servers())
        yield made


def unheard(event: dict[str, Any]) -> None:
    """Progress is of no interest."""


def scored(executor: LocalExecutor, job: TrainJob) -> dict[str, Any]:
    """The score of a training, without what differs from one run of the same to the next."""
    network = score_network("efficientnet-lite0")  # 1,280 features: threads show in the last bits of their eigenvalues
    protocol = Protocol(
        settings=job.settings,
        strategy=job.strategy,
        data_fingerprint=job.data_fingerprint,
        score=ScoreProtocol(
            feature_network=network.name,
            feature_sha256=network.sha256,
            feature_input_size=network.input_size,
            resize_filter=network.resize_filter,
            reference_count=50,
            sampling_steps=5,
            num_images=48,
        ),
    )
    score = ScoreJob(
        spec=job.spec, protocol=protocol, run_folder=job.run_folder, data_folder=job.data_folder, threads=job.threads,
        cache_folder=job.run_folder / "cache", sampling_seed=7,
    )  # fmt: skip
    done = executor.evaluate(score, unheard)
    return {name: value for name, value in done.items() if name not in ("device_seconds", "grid")}


@pytest.mark.parametrize("threads", [1, 2])
def test_weights_and_scores_are_those_of_fresh_processes_to_the_bit(
    threads: int, tmp_path: Path, servers: warm.Servers
) -> None:
    found = []
    for is_warm in (True, False):
        folder = tmp_path / str(is_warm)
        folder.mkdir()
        job = prepared_job(folder, train_steps=20, threads=threads, dropout=0.2)
        executor = LocalExecutor(Event(), is_warm=is_warm)
        executor.train(job, unheard)
        found.append((newest(job), scored(executor, job)))
    assert servers.current and servers.current.is_alive
    (ours, our_score), (theirs, their_score) = found
    assert same(ours, theirs)
    assert our_score == their_score


def test_a_stop_saves_a_kill_does_not_and_neither_keeps_the_run_folder(tmp_path: Path) -> None:
    job = prepared_job(tmp_path, spec=TINY, train_steps=100_000, checkpoint_steps=100_000, log_steps=1)
    steps: list[int] = []
    stop = Event()

    def stopping(event: dict[str, Any]) -> None:
        steps.append(event["step"])
        stop.set()

    with pytest.raises(Interrupted):
        LocalExecutor(stop).train(job, stopping)
    saved = newest(job).step
    assert saved >= steps[0]

    local = LocalExecutor(Event())

    def killing(event: dict[str, Any]) -> None:
        assert event["step"] > saved
        local.kill()

    with pytest.raises(JobFailed, match="ended by SIGKILL"):
        local.train(job, killing)
    assert newest(job).step == saved
    with (job.run_folder / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_training_whose_server_is_killed_goes_on_to_the_same_bits(tmp_path: Path, servers: warm.Servers) -> None:
    straight, harassed = (tmp_path / name for name in ("straight", "harassed"))
    jobs = []
    for folder in (straight, harassed):
        folder.mkdir()
        jobs.append(
            prepared_job(folder, spec=TINY, train_steps=400, checkpoint_steps=10_000, log_steps=10, dropout=0.2)
        )
    killed: list[int] = []

    def killing(event: dict[str, Any]) -> None:
        if not killed and event["step"] >= 50:
            assert servers.current
            killed.append(event["step"])
            servers.current.process.kill()

    LocalExecutor(Event()).train(jobs[0], unheard)
    assert LocalExecutor(Event()).train(jobs[1], killing)["step"] == 400
    assert killed and same(newest(jobs[0]), newest(jobs[1]))
    log = (jobs[1].run_folder / "job.log").read_text()
    assert "Traceback" not in log
