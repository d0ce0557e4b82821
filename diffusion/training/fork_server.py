"""``python -m diffusion.training.fork_server FD MODULE…``: imports the modules, then forks a process for each job.

A fresh process spends 4 to 5 s on importing torch and diffusers, a fork none. Each job is still a process of its own,
with the session, environment, folder, streams, threads and end of a fresh one, and with the same results to the bit.
`tools.executors.warm` is who asks, over the socket FD.

For that to hold, this process computes nothing. It has one thread, since a fork takes along no other; it touches no
GPU, since a fork could not use it; it runs no parallel region of OpenMP, whose pool a fork would wait for in vain. So
it is started with OMP_NUM_THREADS=1, and a library that breaks one of these when it is imported ends it. It ends, too,
when the other end of the socket is closed, and its forks then save and end as they do without a parent.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from threadpoolctl import threadpool_limits

from diffusion.training.allocator import keep_freed_memory
from diffusion.training.child import STOPPED, die_with_parent

PRELOADED = (
    "accelerate.tracking",
    "diffusers.models.unets.unet_2d",
    "diffusion.scores.features",
    "diffusion.scores.fid",
    "diffusion.scores.fidelity",
    "diffusion.scores.grids",
    "diffusion.scores.reference",
    "diffusion.samplers",
    "diffusion.training.trainer",
)  # with what they import: what a training and a score need, but for the modules that run as ``__main__``
LARGEST_ORDER = 2**18  # bytes; more than a socket takes at once
ORDER_STREAMS = 3  # its status, standard output and standard error
CUDA_ERROR_NOT_INITIALIZED = 3  # of the driver's interface
FIRST_OWN_STREAM = 3  # after standard input, output and error


@dataclass(frozen=True)
class Order:
    """One job: ``python -m module arguments``, in a folder, with this environment and no other variable."""

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]


class Fork(NamedTuple):
    """One job that runs: its process, and where its end is told."""

    pid: int
    status: socket.socket


class ForkServer:
    """Forks a process for each order that comes, and tells how each one ended.

    Over an order's status go first its process's number with its descriptor (pidfd_open(2)), then its exit code, which
    is -N for signal N. A status that ends before that says that there is no such process.
    """

    def __init__(self, orders: socket.socket) -> None:
        self.orders, self.poller = orders, select.poll()
        self.forks: dict[int, Fork] = {}  # by the descriptors of their processes
        self.poller.register(orders, select.POLLIN)

    def serve(self) -> Order:
        """Comes back in the forks alone, in each with its order."""
        while True:
            for ready, _ in self.poller.poll():
                if ready in self.forks:
                    self._tell_end(ready)
                elif order := self._forked():
                    return order

    def _forked(self) -> Order | None:
        """In the fork its order, here None."""
        text, streams, _, _ = socket.recv_fds(self.orders, LARGEST_ORDER, ORDER_STREAMS)
        if not text:
            os._exit(0)
        order, server = Order(**json.loads(text)), os.getpid()
        status = socket.socket(fileno=streams[0])
        pid = None if is_hung_up(status) else fork()
        if pid == 0:
            for one in (status, self.orders, *(fork.status for fork in self.forks.values())):
                one.close()  # or a number that the job uses again would be closed later
            settle(order, streams[1:], server)
            return order
        for stream in streams[1:]:
            os.close(stream)
        if pid is None:
            status.close()
        else:
            self._follow(Fork(pid, status))
        return None

    def _follow(self, fork: Fork) -> None:
        """Name the process to who asked for it, and wait for its end."""
        process = os.pidfd_open(fork.pid)
        self.forks[process] = fork
        self.poller.register(process, select.POLLIN)
        with suppress(OSError):  # nobody listens any more; the job notices by itself
            socket.send_fds(fork.status, [str(fork.pid).encode()], [process])

    def _tell_end(self, process: int) -> None:
        fork = self.forks.pop(process)
        self.poller.unregister(process)
        os.close(process)
        code = os.waitstatus_to_exitcode(os.waitpid(fork.pid, 0)[1])
        with fork.status, suppress(OSError):
            fork.status.send(str(code).encode())


def fork() -> int | None:
    """As `os.fork`; None where there is no room for a process."""
    try:
        return os.fork()
    except OSError:
        return None


def settle(order: Order, streams: list[int], server: int) -> None:
    """Make of a fork what a fresh process would be: nothing of the server's stays open, and nobody's variables."""
    os.setsid()
    die_with_parent()
    if os.getppid() != server:
        os._exit(STOPPED)  # it died before this process would have heard of it
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in enumerate((nothing, *streams)):
        os.dup2(source, target)
    os.closerange(FIRST_OWN_STREAM, os.sysconf("SC_OPEN_MAX"))
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    if threads := order.environment.get("OMP_NUM_THREADS"):
        take_threads(int(threads))
    sys.argv = [order.module, *order.arguments]


def take_threads(count: int) -> None:
    """What libraries make of OMP_NUM_THREADS when they are loaded; another number gives other last bits.

    OpenBLAS takes no more than there are cores for this process.
    """
    threadpool_limits({"openmp": count, "blas": min(count, len(os.sched_getaffinity(0)))})


def preload(modules: list[str], orders: socket.socket) -> None:
    """Import what jobs need; end where a fork could not use it, or where nobody waits any more."""
    keep_freed_memory()
    for module in modules:
        importlib.import_module(module)
        if is_hung_up(orders):
            os._exit(0)
    if not is_forkable():
        os._exit(1)  # at once: a thread may be waited for without end
    gc.collect()
    gc.freeze()  # a collection in a fork would write to these pages, and so copy them


def is_forkable() -> bool:
    """Whether a fork of this process is whole: no thread that it would lack, no CUDA that it could not use."""
    os.close(os.pidfd_open(os.getpid()))  # Linux has it since 5.3; without it this ends
    if len(os.listdir("/proc/self/task")) > 1:
        return False
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return True
    return bool(driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int())) == CUDA_ERROR_NOT_INITIALIZED)


def is_hung_up(one: socket.socket) -> bool:
    """Whether the other end of a socket is closed."""
    poller = select.poll()
    poller.register(one, select.POLLHUP)
    return bool(poller.poll(0))


class Leaving:
    """The end of a fork: all that a process does when it leaves, but for taking its libraries apart, for 1 to 2 s."""

    def __init__(self) -> None:
        self.code = 1  # until its job has ended well
        atexit.register(self._leave)  # what is registered first is called last

    def run(self, order: Order) -> None:
        """Be the order's job; how it ends is kept for the process's end."""
        try:
            runpy.run_module(order.module, run_name="__main__", alter_sys=True)
            self.code = 0
        except SystemExit as end:
            if isinstance(end.code, int | None):
                self.code = end.code or 0
            else:
                print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()

    def _leave(self) -> None:
        with suppress(OSError):  # nobody reads
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(self.code)


def main() -> None:
    """Serve; in a fork, be its job."""
    leaving = Leaving()
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        preload(sys.argv[2:], orders)
        order = ForkServer(orders).serve()
    leaving.run(order)


if __name__ == "__main__":
    main()
