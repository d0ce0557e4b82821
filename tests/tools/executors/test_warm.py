"""Jobs that are forks of a warm server behave as fresh processes do, and nothing of one is left for the next."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import pytest
from trainings import children, is_alive, wait_until_dead

from diffusion.training.fork_server import Order
from tools.errors import Interrupted
from tools.executors import warm
from tools.executors.local import LocalExecutor
from tools.executors.warm import Server, ServerLost, Servers, WarmJob

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux alone")

HEAD = "import atexit, json, os, signal, sys, threading, time\nfrom pathlib import Path\n"
WHO = "print(json.dumps([os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0)]), flush=True)\n"
WAITS = """
from diffusion.training.child import Stop
stop = Stop()
print(json.dumps({"event": "progress"}), flush=True)
while not stop.asked: time.sleep(0.02)
print("saved")
sys.exit(143)
"""

TWICE = """
if Path("begun").exists():
    print(json.dumps({"event": "done", "parent": os.getppid()}))
    sys.exit()
Path("begun").touch()
"""


class Ended(NamedTuple):
    """How a job ended and what it said."""

    code: int
    out: str
    error: str


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a server which finds the scripts of a test."""
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


@pytest.fixture
def server(environment: dict[str, str]) -> Iterator[Server]:
    """A server that has imported nothing, so that it starts fast."""
    made = Server(environment, ())
    yield made
    warm._end(made.orders, made.process)


@pytest.fixture
def order(tmp_path: Path, environment: dict[str, str]) -> Callable[..., Order]:
    """Makes an order of a script."""

    def make(script: str, **variables: str) -> Order:
        module = f"script_{len(list(tmp_path.glob('script_*.py')))}"
        (tmp_path / f"{module}.py").write_text(HEAD + script)
        return Order(module, ["--job", "a b"], str(tmp_path), environment | variables)

    return make


def begun(server: Server, order: Order) -> WarmJob:
    job = server.begin(order, Event())
    assert job is not None
    return job


def ended(child: "WarmJob | subprocess.Popen[str]") -> Ended:
    with child:
        assert child.stdout and child.stderr
        out, error = child.stdout.read(), child.stderr.read()
        return Ended(child.wait(), out, error)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize(
    "script",
    [
        "print(__name__, sys.argv[1:], os.getcwd(), sys.stdin.read(), sys.stdout.encoding, file=sys.stdout)",
        "sys.exit(3)",
        "sys.exit('said at the end')",
        "sys.exit()",
        "raise KeyError('conv_in')",
        "import no_such_module",
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "atexit.register(print, 'took leave'); print('begun')",
        "threading.Thread(target=lambda: (time.sleep(0.2), print('the thread is waited for'))).start()",
        "print(sorted(os.listdir('/proc/self/fd')))",
        "print(dict(os.environ) == json.loads(os.environ['ALL']) | {'ALL': os.environ['ALL']})",
        "print({number: str(signal.getsignal(number)) for number in signal.valid_signals()})",
    ],
)  # fmt: skip
def test_a_fork_does_what_a_fresh_process_does(server: Server, order: Callable[..., Order], script: str) -> None:
    asked = order(script)
    asked.environment["ALL"] = json.dumps(asked.environment)
    alone = subprocess.run(
        [sys.executable, "-m", asked.module, *asked.arguments],
        cwd=asked.folder, env=asked.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        start_new_session=True,
    )  # fmt: skip
    forked = ended(begun(server, asked))
    assert (forked.code, forked.out) == (alone.returncode, alone.stdout)
    assert forked.error.splitlines()[-1:] == alone.stderr.splitlines()[-1:]


def test_a_fork_is_a_session_of_its_own_under_the_server(server: Server, order: Callable[..., Order]) -> None:
    job = begun(server, order(WHO))
    assert json.loads(ended(job).out) == [job.pid, server.process.pid, job.pid, job.pid]


def test_variables_of_one_job_are_not_seen_by_the_next(server: Server, order: Callable[..., Order]) -> None:
    asks = "print(os.environ.get('WANDB_API_KEY'), os.environ.get('PYTORCH_NVML_BASED_CUDA_CHECK'))"
    assert ended(begun(server, order(asks, WANDB_API_KEY="of one"))).out == "of one None\n"
    assert ended(begun(server, order(asks))).out == "None None\n"
    assert b"of one" not in Path(f"/proc/{server.process.pid}/environ").read_bytes()


def test_forks_run_at_once_and_a_kill_ends_one(server: Server, order: Callable[..., Order]) -> None:
    one, other = begun(server, order(WAITS)), begun(server, order(WAITS))
    assert one.stdout.readline() and other.stdout.readline()
    one.kill()
    assert ended(one).code == -signal.SIGKILL
    one.kill()  # nobody is hit
    other.terminate()
    assert ended(other).code == 143


def test_twenty_jobs_leave_no_descriptor_and_no_zombie_behind(server: Server, order: Callable[..., Order]) -> None:
    asked = order("print('done')")
    ended(begun(server, asked))
    time.sleep(0.5)  # the server closes what it had of a job a moment after the job's end
    ours, its = descriptors(os.getpid()), descriptors(server.process.pid)
    for _ in range(20):
        assert ended(begun(server, asked)).out == "done\n"
    assert until(lambda: descriptors(server.process.pid) == its and not children(server.process.pid))
    assert descriptors(os.getpid()) == ours


def test_a_caller_that_goes_away_before_its_job_begins_gets_none(server: Server, order: Callable[..., Order]) -> None:
    os.kill(server.process.pid, signal.SIGSTOP)
    stop = Event()
    stop.set()
    with pytest.raises(Interrupted):
        server.begin(order("Path('ran').touch()"), stop)
    os.kill(server.process.pid, signal.SIGCONT)
    assert ended(begun(server, order("print(Path('ran').exists())"))).out == "False\n"


class TestServerDies:
    def test_its_jobs_save_and_end_and_the_caller_is_told(self, server: Server, order: Callable[..., Order]) -> None:
        with begun(server, order(WAITS)) as job:
            assert job.stdout.readline()
            server.process.kill()
            assert job.stdout.read() == "saved\n"
            with pytest.raises(ServerLost):
                job.wait()

    def test_a_job_that_lost_it_is_started_afresh_and_the_next_gets_a_new_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "child_twice.py").write_text(HEAD + TWICE + WAITS)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(warm, "PRELOADED", ())
        monkeypatch.setattr(warm, "SERVERS", servers := Servers())

        def lose(event: dict[str, Any]) -> None:
            assert servers.current
            servers.current.process.kill()

        local, job = LocalExecutor(Event()), json.dumps({"threads": 1})
        done = local._run("child_twice", tmp_path / "run" / "job.json", job, lose)
        first = servers.current
        assert done["parent"] == os.getpid() and first is not None and not first.is_alive
        assert local._run("child_twice", tmp_path / "run" / "job.json", job, lose)["parent"] != os.getpid()
        assert servers.current is not first


class TestWithoutServer:
    @pytest.mark.parametrize(
        "breaks",
        ["raise ImportError", "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"],
        ids=["import", "thread"],
    )
    def test_an_import_that_no_fork_survives_means_a_fresh_start_and_is_not_tried_again(
        self, breaks: str, tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "breaks.py").write_text(breaks)
        monkeypatch.setattr(warm, "PRELOADED", ("breaks",))
        monkeypatch.setattr(warm, "SERVERS", servers := Servers())
        for _ in range(2):
            assert warm.begin("json.tool", tmp_path / "job.json", environment, environment, Event()) is None
            assert servers.current
            pid = servers.current.process.pid
            servers.current.process.wait()
        assert servers.current.process.pid == pid

    def test_another_system_starts_afresh(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(warm.sys, "platform", "darwin")
        monkeypatch.setattr(warm, "Server", None)
        assert warm.begin("json.tool", tmp_path / "job.json", {}, {}, Event()) is None

    def test_another_environment_gets_another_server_and_an_idle_one_ends(self, environment: dict[str, str]) -> None:
        servers = Servers()
        first = servers.of(environment)
        assert first and servers.of(dict(environment)) is first
        process, _ = first.process, servers.of(environment | {"HF_HOME": "elsewhere"})
        del first
        assert process.poll() is not None


DRIVER = """
import os, sys, threading
from tools.executors.warm import Server
from diffusion.training.fork_server import Order
server = Server(dict(os.environ), ())
job = server.begin(Order(sys.argv[1], [], os.getcwd(), dict(os.environ)), threading.Event())
job.stdout.readline()
print(server.process.pid, job.pid, flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_caller(number: signal.Signals, order: Callable[..., Order]) -> None:
    waiting = order(WAITS)
    command = [sys.executable, "-c", DRIVER, waiting.module]
    with subprocess.Popen(command, env=waiting.environment, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout
        pids = [int(pid) for pid in driver.stdout.readline().split()]
        assert len(pids) == 2 and all(map(is_alive, pids))
        driver.send_signal(number)
    wait_until_dead(pids, 20)
