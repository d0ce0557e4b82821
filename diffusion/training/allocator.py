"""Memory that a job has freed stays with it, where the C library would give it back to the system.

glibc maps every large buffer anew and returns it when it is freed, so each layer's output is a fresh mapping that the
kernel zeroes: sampling at 32×32 spends a third of its time there, feature networks up to two thirds (docs/log.md). A
job allocates the same sizes again and again and ends soon, so it keeps what it had. Peak memory stays the same, and a
process that lives long beside others, as a search does, is no place for this.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # mallopt(3)
NEVER_TRIM = 2**31 - 1  # the largest number that mallopt takes
TOP_PAD_BYTES = 64 * 2**20  # that the heap grows by beyond what is asked for


def keep_freed_memory() -> bool:
    """Let this process take large buffers from its heap and never shrink it; whether its C library was told so.

    It is glibc alone that is told: musl has no such switch, and macOS keeps large buffers by itself.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    options = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER_TRIM), (M_TOP_PAD, TOP_PAD_BYTES))
    return all(library.mallopt(option, value) == 1 for option, value in options)
