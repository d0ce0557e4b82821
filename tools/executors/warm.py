"""Jobs as forks of a process that has imported what they need: started in some hundredths of a second instead of 5 s.

`begin` asks `diffusion.training.fork_server`, one for this process, which is started for the first job and ends with
it. A server reads the environment when it loads its libraries, so another environment gets another server. Where none
can be had (not on Linux, an import failed or would break forks, the job's words are too many) the answer is None, and
the caller starts a process afresh.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from threading import Event, Lock
from types import TracebackType
from typing import IO

from diffusion.training.fork_server import PRELOADED, Order
from tools.errors import Interrupted

SERVER = "diffusion.training.fork_server"
AT_LOADING = {
    "OMP_NUM_THREADS": "1",  # a pool of more threads would be lost in a fork that then waits for it
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # diffusers asks for GPUs when it is imported, which initialises CUDA else
}
POLL_SECONDS = 0.2
ANSWER_BYTES = 32  # a process's number, or an exit code


class ServerLost(RuntimeError):
    """The server ended before its fork did, so nobody knows how that ended; the job did not fail."""


class WarmJob:
    """A job that runs in a fork, with what `subprocess.Popen` has for its caller."""

    def __init__(
        self, server: "Server", status: socket.socket, pid: int, process: int, stdout: IO[str], stderr: IO[str]
    ) -> None:
        self.server = server  # which would end if nobody held it
        self.status, self.pid, self.process, self.stdout, self.stderr = status, pid, process, stdout, stderr
        self.returncode: int | None = None
        weakref.finalize(self, os.close, process)  # as long as somebody may send a signal, it means this process

    def wait(self) -> int:
        """The exit code, -N for signal N.

        Raises:
            ServerLost: nobody is left to tell it.
        """
        if self.returncode is None:
            told = self.status.recv(ANSWER_BYTES)
            if not told:
                raise ServerLost
            self.returncode = int(told)
        return self.returncode

    def terminate(self) -> None:
        """Ask it to save and end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended
            signal.pidfd_send_signal(self.process, number)

    def __enter__(self) -> "WarmJob":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stdout.close()
        self.stderr.close()
        with self.status, suppress(ServerLost):
            self.wait()


class Server:
    """The process that forks, for jobs of one environment; it ends when nobody holds this any more."""

    def __init__(self, environment: dict[str, str], modules: Sequence[str]) -> None:
        self.environment = environment
        self.orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", SERVER, str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # what keeps it from serving is said by the job, which then starts afresh
                env=environment | AT_LOADING,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        weakref.finalize(self, _end, self.orders, self.process)

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    @property
    def is_killed(self) -> bool:
        """Whether it was ended from outside; one that ended by itself could not serve, nor could the next."""
        return (self.process.poll() or 0) < 0

    def begin(self, order: Order, stop: Event) -> WarmJob | None:
        """The job as soon as it runs; None where the server is gone or has no room for it.

        Raises:
            Interrupted: a stop was asked before.
            OSError: the server cannot be told.
        """
        status, its_status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        (stdout, its_stdout), (stderr, its_stderr) = _pipe(), _pipe()
        with ExitStack() as ours:
            for one in (status, stdout, stderr):
                ours.enter_context(one)
            with its_status, its_stdout, its_stderr:
                text = json.dumps(asdict(order)).encode()
                socket.send_fds(self.orders, [text], [one.fileno() for one in (its_status, its_stdout, its_stderr)])
            told = _answer(status, stop)
            if told is not None:
                ours.pop_all()
                return WarmJob(self, status, *told, stdout, stderr)
        return None


class Servers:
    """The server of this process, one at a time; an earlier one ends with the last of its jobs."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.current: Server | None = None

    def of(self, environment: dict[str, str]) -> Server | None:
        """The one for an environment; None if it found that it cannot serve."""
        with self.lock:
            known = self.current
            if known is None or known.environment != environment or known.is_killed:
                known = self.current = Server(environment, PRELOADED)
            return known if known.is_alive else None


SERVERS = Servers()


def begin(module: str, path: Path, environment: dict[str, str], base: dict[str, str], stop: Event) -> WarmJob | None:
    """``python -m module --job path`` in a fork with this environment, of a server with the environment `base`.

    Returns:
        The job, or None: it has to be started afresh.

    Raises:
        Interrupted: a stop was asked before it began.
    """
    if sys.platform != "linux":
        return None
    try:
        order = Order(module, ["--job", str(path)], os.getcwd(), environment)
        server = SERVERS.of(base)
        return server.begin(order, stop) if server else None
    except OSError:  # no folder, no room for descriptors, or no server any more
        return None


def _pipe() -> tuple[IO[str], IO[bytes]]:
    """Both ends: the reading one, and the writing one."""
    reading, writing = os.pipe()
    return open(reading), open(writing, "wb", buffering=0)


def _answer(status: socket.socket, stop: Event) -> tuple[int, int] | None:
    """The number of the job's process and its descriptor; None if there is no process."""
    poller = select.poll()
    poller.register(status, select.POLLIN)
    while not poller.poll(1000 * POLL_SECONDS):
        if stop.is_set():
            raise Interrupted
    text, descriptors, _, _ = socket.recv_fds(status, ANSWER_BYTES, 1)
    return (int(text), descriptors[0]) if text else None


def _end(orders: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    """It computes nothing, so nothing is lost; jobs that still run save and end."""
    orders.close()
    process.kill()
    process.wait()
