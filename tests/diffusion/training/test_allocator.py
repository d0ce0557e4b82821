import subprocess
import sys

import pytest

from diffusion.training import allocator
from diffusion.training.allocator import keep_freed_memory

FAULTS = """
import resource, sys
from diffusion.training.allocator import keep_freed_memory
import numpy
kept = sys.argv[1] == "kept" and keep_freed_memory()
def look():
    return numpy.ones(2**23).sum()  # 64 MiB, which glibc always maps: 16,384 pages, or 32 huge ones
for _ in range(30):  # it takes some until every hole has the size of a buffer
    look()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    look()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> tuple[str, int]:
    """Whether memory is kept, and the pages that ten buffers of the same size were given."""
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    kept, count = done.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
def test_a_buffer_that_was_freed_is_used_again_without_the_kernel() -> None:
    kept, count = faults("kept")
    if kept == "False":
        pytest.skip("this C library has no such switch")
    assert count < 32 < 10 * 32 <= faults("as usual")[1]


def test_other_systems_and_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Musl:
        def __init__(self, name: None) -> None:
            pass

    monkeypatch.setattr(allocator.ctypes, "CDLL", Musl)  # a call of mallopt would be an AttributeError
    assert keep_freed_memory() is False
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", None)
    assert keep_freed_memory() is False
