"""Threads of this process, where its tensors are too small to share."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread within the context.

    Layers of a few thousand numbers gain nothing from a second one, and beside trainings that have the cores to
    themselves the two wait for each other: generating 20 specs took 94 s instead of 19 beside other work on two cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
