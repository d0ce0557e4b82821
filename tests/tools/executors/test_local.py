"""Jobs as child processes: their progress, their failures, their end, and what they are not told."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tools.errors import Interrupted, JobFailed
from tools.executors import warm
from tools.executors.local import Gpus, LocalExecutor, child_environment

CHILDREN = {
    "done": 'say(event="progress", step=1); say(event="done", value=3)',
    "stray": 'print("a library says hello"); print("[1, 2]"); say(event="done", value=3)',
    "failed": 'say(event="failed", reason="the loss is nan at step 7"); sys.exit(1)',
    "traceback": 'raise KeyError("conv_in")',
    "no_result": "pass",
    "killed": "os.kill(os.getpid(), 9)",
    "slow": 'say(event="progress", step=1); time.sleep(60)',
    "environment": 'say(event="done", value=dict(os.environ))',
}
HEAD = "import json, os, sys, time\ndef say(**event): print(json.dumps(event), flush=True)\n"


class Job:
    """Enough of a job for the executor: where it lies and how many threads it may use."""

    def __init__(self, folder: Path) -> None:
        self.run_folder = folder

    def model_dump_json(self) -> str:
        return json.dumps({"threads": 2})


@pytest.fixture(params=[False, True], ids=["fresh", "warm"])
def is_warm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether children are forks, here of a server that imports nothing."""
    monkeypatch.setattr(warm, "PRELOADED", ())
    monkeypatch.setattr(warm, "SERVERS", warm.Servers())
    return bool(request.param)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_warm: bool) -> Any:
    """Run one of the scripted children as if it were a training."""

    def play(name: str, stop: threading.Event | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        module = tmp_path / f"child_{name}.py"
        module.write_text(HEAD + CHILDREN[name])
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        progress: list[dict[str, Any]] = []
        local = LocalExecutor(stop or threading.Event(), is_warm=is_warm)
        folder = tmp_path / "run"
        return local._run(module.stem, folder / "job.json", Job(folder).model_dump_json(), progress.append), progress

    return play


def test_progress_is_handed_on_and_the_result_returned(run: Any) -> None:
    done, progress = run("done")
    assert done["value"] == 3
    assert progress == [{"event": "progress", "step": 1}]


def test_a_stray_print_is_no_result(run: Any) -> None:
    assert run("stray")[0] == {"event": "done", "value": 3}


@pytest.mark.parametrize(
    ("child", "reason"),
    [
        ("failed", "the loss is nan at step 7"),
        ("traceback", "the process ended with exit code 1: KeyError: 'conv_in'"),
        ("no_result", "the process ended with exit code 0: it said nothing"),
        ("killed", "the process was ended by SIGKILL (the system's memory may not suffice)"),
    ],
)
def test_a_child_without_a_result_is_a_failure_with_its_reason(run: Any, child: str, reason: str) -> None:
    with pytest.raises(JobFailed) as failed:
        run(child)
    assert str(failed.value) == reason


def test_a_stop_reaches_the_child_and_is_no_failure(run: Any) -> None:
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    started = time.monotonic()
    with pytest.raises(Interrupted):
        run("slow", stop)
    assert time.monotonic() - started < 20


def test_nothing_is_started_after_a_stop(run: Any) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        run("done", stop)


class TestSeveralAtOnce:
    @pytest.fixture
    def under_way(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_warm: bool) -> tuple[LocalExecutor, Any]:
        """Two children that wait, asked for by two threads of one executor, and how each ended."""
        (tmp_path / "child_slow.py").write_text(HEAD + CHILDREN["slow"])
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        local, begun = LocalExecutor(threading.Event(), is_warm=is_warm), threading.Semaphore(0)

        def ask(name: str) -> type[BaseException] | None:
            folder = tmp_path / name
            try:
                text = Job(folder).model_dump_json()
                local._run("child_slow", folder / "job.json", text, lambda event: begun.release())
            except (Interrupted, JobFailed) as error:
                return type(error)
            return None

        pool = ThreadPoolExecutor(2)
        ends = [pool.submit(ask, name) for name in ("one", "two")]
        assert begun.acquire(timeout=30) and begun.acquire(timeout=30)  # both have spoken
        assert [isinstance(child, warm.WarmJob) for child in local.children] == [is_warm] * 2
        return local, ends

    def test_a_stop_reaches_all(self, under_way: tuple[LocalExecutor, Any]) -> None:
        local, ends = under_way
        local.stop.set()
        assert [end.result(20) for end in ends] == [Interrupted, Interrupted]
        assert local.children == set()

    def test_kill_ends_all(self, under_way: tuple[LocalExecutor, Any]) -> None:
        local, ends = under_way
        local.kill()
        assert [end.result(20) for end in ends] == [JobFailed, JobFailed]

    def test_each_job_gets_the_least_busy_gpus_and_gives_them_back(self) -> None:
        gpus = Gpus(("0", "1", "2"))
        with gpus.taken(2) as first, gpus.taken(1) as second:
            assert (first, second) == (["0", "1"], ["2"])
            with gpus.taken(1) as shared, gpus.taken(1) as other:
                assert (shared, other) == (["0"], ["1"])  # a fourth job shares one
        with gpus.taken(3) as every:
            assert every == ["0", "1", "2"]
        assert gpus.jobs == {"0": 0, "1": 0, "2": 0}
        with Gpus(()).taken(1) as none:
            assert none == []

    def test_gpus_that_were_handed_out_are_all_that_the_child_sees(self) -> None:
        assert child_environment("1", ["2", "GPU-8f"])["CUDA_VISIBLE_DEVICES"] == "2,GPU-8f"
        assert child_environment("1", []).get("CUDA_VISIBLE_DEVICES") == os.environ.get("CUDA_VISIBLE_DEVICES")


def test_the_child_gets_its_threads_and_no_secrets(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    monkeypatch.setenv("HF_TOKEN", "hf_planted0123456789")
    environment = run("environment")[0]["value"]
    assert environment["OMP_NUM_THREADS"] == "2"
    assert "sk-planted-0123456789" not in environment.values()
    assert "HF_TOKEN" not in environment
    assert "PATH" in environment


def test_a_file_in_the_users_folder_that_is_named_like_ours_is_not_imported() -> None:
    assert child_environment("1")["PYTHONSAFEPATH"] == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_training_does_not_outlive_a_killed_search(tmp_path: Path) -> None:
    script = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {CHILD_THAT_WAITS!r}], stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline(), flush=True)
import time; time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline().split()[0])
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(pid)


CHILD_THAT_WAITS = """
from diffusion.training.child import Stop, die_with_parent
import time
stop = Stop()
die_with_parent()
print("ready", flush=True)
while not stop.asked: time.sleep(0.05)
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
