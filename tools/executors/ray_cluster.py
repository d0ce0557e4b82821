"""A Ray cluster as the executor: each job is an actor that runs it on its node as `LocalExecutor` runs it on this one.

An actor gets a job as text and gives its lines back; the memory is written here alone, and no secret leaves this
process. A node that is lost, or silent for long, fails no trial: its job begins again on another node, from its last
checkpoint. So the run folder and the data must lie on storage that every node sees under the same path, and every node
needs this project installed. What Ray schedules beyond these jobs is none of our business.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Event
from typing import Any, Literal, TypeVar

import ray
from ray.exceptions import RayActorError, RayError

from diffusion.distill.plan import DistillJob
from diffusion.errors import UserError
from diffusion.settings import ScoreJob, TrainJob
from memory.redaction import holds_secret
from tools.errors import Interrupted, JobFailed
from tools.executors.base import OnProgress
from tools.executors.local import LocalExecutor
from tools.executors.machine import Machine, Node, Share, cores, visible_gpus

RETRIES = 3  # nodes that may be lost under one job
SILENCE_SECONDS = 60.0  # without an answer of the actor; it answers every `NEWS_SECONDS`
NEWS_SECONDS = 1.0
POLL_SECONDS = 0.2
ANSWER_SECONDS = 5.0  # for a cluster's door to open
CALLS_AT_ONCE = 3  # of an actor: the job, its news, its stop
SMALLEST_STORE_BYTES = 80 * 2**20  # Ray wants 75 MiB; nothing of ours lies in it
QUIET = {  # read by Ray when it is started
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a warning about what jobs without a GPU see
}

Kind = Literal["train", "evaluate", "distill"]
AnyJob = TrainJob | ScoreJob | DistillJob
Job = TypeVar("Job", TrainJob, ScoreJob, DistillJob)


class NodeLost(RuntimeError):
    """The actor, or the node under it, is gone; the job did not fail."""


class RayExecutor:
    """Runs each job as an actor of a cluster; several threads may ask for jobs at once."""

    def __init__(self, stop: Event, cluster: Machine, jobs: Share) -> None:
        self.stop, self.cluster, self.jobs = stop, cluster, jobs
        self.actors: set[Any] = set()

    def train(self, job: TrainJob, on_progress: OnProgress) -> dict[str, Any]:
        """See `tools.context.Executor`."""
        return self._run("train", job, job.processes, on_progress)

    def evaluate(self, job: ScoreJob, on_progress: OnProgress) -> dict[str, Any]:
        """See `tools.context.Executor`."""
        return self._run("evaluate", job, 1, on_progress)

    def distill(self, job: DistillJob, on_progress: OnProgress) -> dict[str, Any]:
        """See `tools.executors.base.Distiller`."""
        return self._run("distill", job, 1, on_progress)

    def kill(self) -> None:
        """End the actors, and with them their jobs, at once."""
        for actor in list(self.actors):
            ray.kill(actor)

    def _run(self, kind: Kind, job: AnyJob, processes: int, on_progress: OnProgress) -> dict[str, Any]:
        for _ in range(1 + RETRIES):
            if self.stop.is_set():
                raise Interrupted
            try:
                outcome = self._attempt(kind, job, processes, on_progress)
            except NodeLost:
                continue
            if outcome.get("interrupted"):
                raise Interrupted
            if "failed" in outcome:
                raise JobFailed(outcome["failed"])
            done: dict[str, Any] = outcome["done"]
            return done
        raise JobFailed(f"the node it ran on was lost, {1 + RETRIES} times in a row")

    def _attempt(self, kind: Kind, job: AnyJob, processes: int, on_progress: OnProgress) -> dict[str, Any]:
        """The job on one node; what came of it there."""
        actor = placed(Runner, **self._needs(job.threads, processes)).remote()
        self.actors.add(actor)
        try:
            return self._followed(actor, actor.run.remote(kind, job.model_dump_json()), on_progress)
        except RayActorError as error:
            if self.stop.is_set():
                raise Interrupted from None
            raise NodeLost from error
        finally:
            self.actors.discard(actor)
            ray.kill(actor)

    def _needs(self, threads: int, processes: int) -> dict[str, float]:
        """What Ray is to set aside; more jobs than GPUs share them."""
        needs: dict[str, float] = {"num_cpus": threads * processes, "num_gpus": 0}
        if self.cluster.device == "cuda":
            each = sum(node.gpus for node in self.cluster.nodes) / self.jobs.parallel
            needs["num_gpus"] = processes if each >= 1 or processes > 1 else int(100 * each) / 100
        return needs

    def _followed(self, actor: Any, outcome: Any, on_progress: OnProgress) -> dict[str, Any]:
        """Hand the job's progress on until it is over; a stop is passed on, silence is a lost node."""
        seen, told = 0, False
        heard: float | None = None
        news = actor.news.remote(seen)
        while True:
            ready, _ = ray.wait([outcome, news], num_returns=1, timeout=POLL_SECONDS)
            if news in ready:
                heard = time.monotonic()
                seen += _handed_on(ray.get(news), on_progress)
                news = actor.news.remote(seen)
            elif ready:
                _handed_on(ray.get(actor.news.remote(seen)), on_progress)
                found: dict[str, Any] = ray.get(outcome)
                return found
            if heard is not None and time.monotonic() - heard > SILENCE_SECONDS:
                raise NodeLost
            if self.stop.is_set() and heard is None:
                raise Interrupted  # it still waits for a node
            if self.stop.is_set() and not told:
                told = actor.stop.remote() is not None


class Runner:
    """One job on the node where Ray put it; each call has a thread of its own."""

    def __init__(self) -> None:
        self.stop_asked, self.changed = Event(), Condition()
        self.events: list[dict[str, Any]] = []
        self.over = False

    def run(self, kind: Kind, job: str) -> dict[str, Any]:
        """What came of it: ``done`` with its last line, ``failed`` with the reason, or ``interrupted``."""
        local = LocalExecutor(self.stop_asked, is_warm=False)  # one job, and the node's process ends
        try:
            if kind == "train":
                return {"done": local.train(self._visible(TrainJob.model_validate_json(job)), self._tell)}
            if kind == "distill":
                return {"done": local.distill(self._visible(DistillJob.model_validate_json(job)), self._tell)}
            return {"done": local.evaluate(self._visible(ScoreJob.model_validate_json(job)), self._tell)}
        except JobFailed as failure:
            return {"failed": str(failure)}
        except Interrupted:
            return {"interrupted": True}
        finally:
            with self.changed:
                self.over = True
                self.changed.notify_all()

    def news(self, seen: int) -> list[dict[str, Any]]:
        """The progress after the first `seen` lines, as soon as there is some; an empty answer is a sign of life."""
        with self.changed:
            self.changed.wait_for(lambda: self.over or len(self.events) > seen, NEWS_SECONDS)
            return self.events[seen:]

    def stop(self) -> None:
        """Let the job save and end."""
        self.stop_asked.set()

    def _tell(self, event: dict[str, Any]) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def _visible(self, job: Job) -> Job:
        if not job.data_folder.is_dir():
            raise JobFailed(
                f"'{job.data_folder}' is not there on the node {os.uname().nodename}; "
                "name a folder that every node sees with --out"
            )
        return job


def _handed_on(events: list[dict[str, Any]], on_progress: OnProgress) -> int:
    for event in events:
        on_progress(event)
    return len(events)


def placed(actor: type, **needs: float) -> Any:
    """An actor class with what Ray is to set aside for it."""
    make: Callable[..., Any] = ray.remote
    return make(max_restarts=0, max_concurrency=CALLS_AT_ONCE, **needs)(actor)


@contextmanager
def ray_cluster(address: str | None) -> Iterator[Machine]:
    """A cluster to run jobs on: the one at `address`, else at ``RAY_ADDRESS``, else one that is started here.

    A cluster that this process is connected to already is used and left as it is.

    Raises:
        UserError: nobody answers at the address.
    """
    named = address or os.environ.get("RAY_ADDRESS")
    connected = ray.is_initialized()
    if not connected:
        with without_secrets():
            _connect(named)
    try:
        yield machine_of(_nodes(), named)
    finally:
        if not connected:
            ray.shutdown()


def _connect(address: str | None) -> None:
    _check_answers(address)
    own: dict[str, Any] = {}
    if address in (None, "local"):
        own = {"num_gpus": len(visible_gpus()), "num_cpus": cores(), "object_store_memory": SMALLEST_STORE_BYTES}
    try:
        ray.init(address or "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RayError, ValueError, RuntimeError) as error:
        if not address:
            raise
        raise _no_cluster(address, error) from None


def _check_answers(address: str | None) -> None:
    """Ray itself would knock for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except OSError as error:
        raise _no_cluster(f"{host}:{port}", error) from None


def _no_cluster(address: str, error: Exception) -> UserError:
    said = " ".join(str(error).split())[:200]
    return UserError(
        f"'{address}' is not the address of a Ray cluster that answers ({said}); start one with `ray start --head`, "
        "or leave ray_address and RAY_ADDRESS empty"
    )


@contextmanager
def without_secrets() -> Iterator[None]:
    """What Ray starts on this machine inherits the environment: without keys, and quiet."""
    before = dict(os.environ)
    for name in [name for name, value in before.items() if holds_secret(name, value)]:
        del os.environ[name]
    os.environ.update(QUIET)
    try:
        yield
    finally:
        os.environ.update(before)


def _nodes() -> list[dict[str, Any]]:
    told: Callable[[], list[dict[str, Any]]] = ray.nodes
    return told()


def machine_of(nodes: list[dict[str, Any]], address: str | None) -> Machine:
    """What the living nodes of a cluster have.

    Raises:
        UserError: none of them has a core for jobs.
    """
    living = [node["Resources"] for node in nodes if node["Alive"]]
    found = tuple(Node(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in living if has.get("CPU", 0) >= 1)
    if not found:
        raise UserError(f"'{address or 'local'}' is a Ray cluster without a core for jobs; add a node with `ray start`")
    return Machine(found, name="the largest node of the cluster")
