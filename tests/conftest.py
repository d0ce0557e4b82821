"""What holds in every test: loopback only, no keys, one thread, no tracing, an environment that is put back.

The environment is set when this file is read, before any test imports torch or a hub client: both look at it only once.
Child processes inherit the environment but not the guard on sockets. Tests run side by side, one process a core.
"""

import ipaddress
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SECRETS_AND_SETTINGS = re.compile(
    r".*_(API_KEY|TOKEN|SECRET)|(OPENAI|ANTHROPIC|OLLAMA|LANGCHAIN|LANGSMITH|DIFFNAS)_.*|(HTTP|HTTPS|ALL)_PROXY",
    re.IGNORECASE,
)

for name in filter(SECRETS_AND_SETTINGS.fullmatch, list(os.environ)):
    del os.environ[name]
os.environ["LANGSMITH_TRACING"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # a test beside it has the other core; more threads than cores: six times slower

IN_MEMORY = Path("/dev/shm")  # Linux' own folder in memory, where waiting for the disk (fsync) costs nothing
ENOUGH_BYTES = 2 * 2**30  # the tests of a run write 0.7 GB at most, and what passed is removed at once
if os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free >= ENOUGH_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))  # where pytest makes the folders of tests


MOST_PROCESSES = 4  # each holds a torch of its own, about 1 GB


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process a core for folders; a file or a test that is named runs here, sooner than a process has started."""
    return 0 if any(".py" in argument for argument in config.args) else min(os.cpu_count() or 1, MOST_PROCESSES)


class NetworkForbidden(AssertionError):
    """A test reached for another machine."""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine; names other than localhost are not looked up."""
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_other_machines(host: object) -> None:
    """Raise for a host that is not loopback; None and the empty name are this machine."""
    text = host.decode() if isinstance(host, bytes) else host
    if isinstance(text, str) and not is_loopback(text):
        raise NetworkForbidden(f"'{text}' is another machine; tests talk to loopback only")


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Let sockets connect to loopback and to local files alone, and let no other name be looked up."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse_other_machines(address[0])
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse_other_machines(address[0])
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_other_machines(host)
        return getaddrinfo(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


@pytest.fixture(autouse=True)
def environment_put_back() -> Iterator[None]:
    """Undo what a test or the code under it wrote into the environment, such as keys read from an ``.env`` file."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)
