"""Jobs on a Ray cluster: the same lines and results, no secrets, and a lost node costs a checkpoint interval at most.

Clusters are started by a process of their own: Ray asks for this machine's address in ways that tests forbid.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.config.sources import resolve
from agent.search.plan import check_jobs
from diffusion.data.images import prepare_images
from diffusion.errors import UserError
from diffusion.settings import Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec

ROOT = Path(__file__).parents[3]
SECRET = "sk-planted-0123456789abcdef"
STEPS, LONG, CHECKPOINT_STEPS = 400, 4000, 50


def test_without_the_extra_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = importlib.util.find_spec
    monkeypatch.setattr("agent.search.plan.find_spec", lambda name: None if name == "ray" else found(name))
    with pytest.raises(UserError) as refused:
        check_jobs(resolve({"executor": "ray"}).config)
    assert str(refused.value) == "--executor ray needs the package ray; pip install 'diffnas-agent[ray]'"


def job(folder: Path, steps: int = STEPS) -> TrainJob:
    """A small training on the digits."""
    card = prepare_images("digits", folder / "data")
    return TrainJob(
        spec=UNetSpec.parse("b8-n1-m1.1.1.1-a0000"),
        settings=Settings(dataset="digits", resolution=8, channels=1),
        strategy=Strategy(train_steps=steps, batch_size=16),
        seed=0,
        data_fingerprint=card.fingerprint,
        data_folder=folder / "data",
        run_folder=folder / "run",
        checkpoint_steps=CHECKPOINT_STEPS,
        log_steps=10,
    )


HEAD = """
import contextlib, json, os, signal, sys, threading, time
from pathlib import Path
from diffusion.settings import TrainJob
from tools.errors import Interrupted, JobFailed
from tools.executors.ray_cluster import *
from tools.executors.machine import share

job = TrainJob.model_validate_json(Path(sys.argv[1]).read_text())
stop, told = threading.Event(), []
"""


def ray_script(folder: Path, code: str, asked: TrainJob) -> Any:
    """Run a script that speaks to a cluster of its own; the JSON of its last line."""
    pytest.importorskip("ray")
    (folder / "asked.json").write_text(asked.model_dump_json())
    environment = {**os.environ, "OPENAI_API_KEY": SECRET, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HEAD + code, str(folder / "asked.json")]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=540, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestACluster:
    def test_a_training_gives_its_lines_and_its_result_and_gets_no_secret(self, tmp_path: Path) -> None:
        found = ray_script(
            tmp_path,
            """
with ray_cluster(None) as machine:
    executor = RayExecutor(stop, machine, share(machine, 1, 1, 0))
    done = executor.train(job, told.append)
    environments = ray.remote(lambda: [dict(os.environ), Path("/proc/self/environ").read_text()])
    seen = json.dumps(ray.get(environments.remote()))
    kept = os.environ["OPENAI_API_KEY"]
print(json.dumps({"done": done, "told": told, "secret": kept in seen}))
""",
            job(tmp_path),
        )
        assert found["done"]["step"] == STEPS
        assert [event["step"] for event in found["told"]] == list(range(10, STEPS + 1, 10))
        assert json.loads((tmp_path / "run" / "result.json").read_text())["step"] == STEPS
        assert not found["secret"]

    def test_a_stop_lets_it_save_and_a_failure_is_told(self, tmp_path: Path) -> None:
        found = ray_script(
            tmp_path,
            """
ends = []
with ray_cluster(None) as machine:
    executor = RayExecutor(stop, machine, share(machine, 1, 1, 0))
    elsewhere = job.model_copy(update={"data_folder": Path("/none/here")})
    try:
        executor.train(elsewhere, told.append)
    except JobFailed as failure:
        ends.append(str(failure))
    try:
        executor.train(job, lambda event: stop.set())
    except Interrupted:
        ends.append("interrupted")
print(json.dumps(ends))
""",
            job(tmp_path),
        )
        assert found[0].startswith("'/none/here' is not there on the node ")
        assert found[0].endswith("; name a folder that every node sees with --out")
        assert found[1:] == ["interrupted"]
        assert list((tmp_path / "run").glob("*.safetensors")) or list((tmp_path / "run").rglob("*.safetensors"))
        assert not (tmp_path / "run" / "result.json").exists()

    def test_an_address_where_nobody_answers_is_named(self, tmp_path: Path) -> None:
        found = ray_script(
            tmp_path,
            """
from diffusion.errors import UserError
try:
    with ray_cluster("127.0.0.1:1"):
        pass
except UserError as error:
    print(json.dumps(str(error)))
""",
            job(tmp_path),
        )
        assert found.startswith("'127.0.0.1:1' is not the address of a Ray cluster that answers (")

    def test_a_lost_node_costs_at_most_one_checkpoint_interval(self, tmp_path: Path) -> None:
        found = ray_script(
            tmp_path,
            """
os.environ.update(QUIET)
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
first = cluster.add_node(num_cpus=1)
ray.init(cluster.address, log_to_driver=False)

def trainer():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\\0")
        except OSError:
            continue
        if str(job.run_folder / "job.json").encode() in words:
            return int(path.parent.name)

def lose():
    cluster.add_node(num_cpus=1)
    child = trainer()
    worker = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])  # its parent, proc(5)
    for process in (child, worker):
        os.kill(process, signal.SIGSTOP)  # a lost machine neither saves nor says anything more
    cluster.remove_node(first, allow_graceful=False)
    for process in (child, worker):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)

def on_progress(event):
    told.append(event["step"])
    if event["step"] >= 170 and not lost:
        lost.append(len(told))
        lose()

lost = []
with ray_cluster(None) as machine:
    executor, attempts = RayExecutor(stop, machine, share(machine, 1, 1, 0)), []
    attempt = executor._attempt
    executor._attempt = lambda *given: (attempts.append(1), attempt(*given))[1]
    done = executor.train(job, on_progress)
print(json.dumps({"done": done, "told": told, "lost": lost[0], "attempts": len(attempts)}))
ray.shutdown()
cluster.shutdown()
""",
            job(tmp_path, LONG),
        )
        assert found["done"]["step"] == LONG
        assert found["attempts"] == 2
        before, after = found["told"][: found["lost"]], found["told"][found["lost"] :]
        assert min(after) - 10 >= before[-1] - before[-1] % CHECKPOINT_STEPS  # from the last checkpoint on
        assert after[-1] == LONG
