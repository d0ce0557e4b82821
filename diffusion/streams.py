"""Random numbers as functions of what they are for: every draw has a seed made from (seed, purpose, step or index).

Nothing depends on the history of a generator: a resumed, a re-batched and a re-distributed run draw the same numbers.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def stream_seed(*parts: int | str) -> int:
    """A 63-bit seed for one stream, for example ``stream_seed(seed, "noise", step)``."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*parts: int | str) -> "torch.Generator":
    """A CPU generator at the start of one stream."""
    import torch

    return torch.Generator().manual_seed(stream_seed(*parts))


class Order:
    """Which images stand in which batch: epoch after epoch of permutations, a function of (seed, step)."""

    def __init__(self, seed: int, count: int) -> None:
        self.seed, self.count = seed, count
        self._epoch = -1
        self._permutation: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def batch(self, step: int, batch_size: int) -> NDArray[np.int64]:
        """Indices of the images of one step; a batch may straddle epochs.  (batch_size,)"""
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        return np.array([self._index(int(position)) for position in positions], dtype=np.int64)

    def _index(self, position: int) -> int:
        epoch, offset = divmod(position, self.count)
        if epoch != self._epoch:
            rng = np.random.Generator(np.random.PCG64(stream_seed(self.seed, "order", epoch)))
            self._epoch, self._permutation = epoch, rng.permutation(self.count)
        return int(self._permutation[offset])
