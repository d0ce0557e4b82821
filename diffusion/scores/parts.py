"""Values of many images, computed part by part: a kill loses at most one part, and who wants the same shares the work.

A part is a run of whole batches, so what is put together equals, to the bit, what one pass over all images gives. Each
is a file that appears whole or not at all, has checksums (it is a zip archive), and is computed anew where it is
damaged. Whoever computes a part holds the lock of a file beside it, which ends with the process, whatever ends that;
nobody waits for a lock, or for anybody while holding one. Where the file system knows none, every process computes
all. Work of a few seconds that is not shared leaves no parts behind; others stay until `remove`, which is for whoever
has written the whole.
"""

import fcntl
import os
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion.files.writing import whole

DAMAGED = (OSError, ValueError, TypeError, KeyError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error)
WORTH_KEEPING_SECONDS = 5.0  # what took less is soon computed again
MOST_PARTS = 128  # locks of parts that are not kept yet stay open, and some systems allow 256 files a process
PART = re.compile(r"(\d{8})-(\d{8})\.npz")  # of the images from one to before the other; see `Parts.path`
POLL_SECONDS = 0.2  # between two looks at what another process computes

OnProgress = Callable[[int], None]  # is told how many images are done; what it raises ends the work
Compute = Callable[[slice, OnProgress], NDArray[Any]]  # the values of these images


def images_in(folder: Path) -> int:
    """How many images have a part in a folder, whole or not: nothing is read."""
    found = map(PART.fullmatch, (path.name for path in folder.iterdir())) if folder.is_dir() else ()
    return sum(int(match[2]) - int(match[1]) for match in found if match)


def never() -> bool:
    """Nobody else makes the whole."""
    return False


@dataclass(frozen=True)
class Parts:
    """The parts of `count` images in a folder, each of as many batches of `batch_size` as keep them few."""

    folder: Path
    count: int
    batch_size: int
    is_over: Callable[[], bool] = never  # whether another process has made the whole

    def gather(self, into: NDArray[Any], compute: Compute, on_progress: OnProgress) -> bool:  # (count, …)
        """Fill an array with the parts that are kept and by computing the others; False if the whole appears instead.

        Args:
            into: a place for the values of each image.
            compute: gives the values of some of the images.
            on_progress: is told how many images are done, first of all those of kept parts; others' parts count.
        """
        try:
            with ExitStack() as held:
                work = _Work(self, into, compute, on_progress, held)
                work.read_all()
                on_progress(work.done)
                while work.missing:
                    if self.is_over():
                        return False
                    if not work.goes_on():
                        work.hand_on()
                        on_progress(work.done)
                        time.sleep(POLL_SECONDS)
                if work.is_shared:
                    work.hand_on()
            return True
        finally:
            with suppress(OSError):
                self.folder.rmdir()  # where nothing was kept

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The images of each part, in their order."""
        batches = -(-self.count // self.batch_size)
        size = self.batch_size * max(1, -(-batches // MOST_PARTS))
        return tuple(slice(start, min(start + size, self.count)) for start in range(0, self.count, size))

    def read(self, part: slice, shape: tuple[int, ...]) -> NDArray[Any] | None:
        """The values of a part, each of a shape; None where there is none, or a damaged one."""
        with suppress(*DAMAGED), self.path(part).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found: NDArray[Any] = archive["values"]
            if found.shape == (part.stop - part.start, *shape):
                return found
        return None

    def keep(self, part: slice, values: NDArray[Any]) -> None:
        """Write a part, in half the bytes if nothing is lost; where it cannot be written, the work goes on without."""
        narrow = values.astype(np.float32) if values.dtype == np.float64 else values
        kept = narrow if np.array_equal(narrow, values) else values
        with suppress(OSError), whole(self.path(part)) as path, path.open("wb") as file:
            np.savez(file, values=kept)

    def claim(self, part: slice) -> ExitStack | None:
        """What holds a part until it is closed; None where another process computes it."""
        held = ExitStack()
        with suppress(OSError):  # no locks, or no folder: then it is computed here, whoever else does
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.path(part).with_suffix(".lock")
            held.callback(os.close, lock := os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.close()
                return None
            held.callback(path.unlink, missing_ok=True)
        return held

    def path(self, part: slice) -> Path:
        """The file of a part."""
        return self.folder / f"{part.start:08d}-{part.stop:08d}.npz"

    def remove(self) -> None:
        """Take away the parts, where there are any."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _Work:
    """One process's part in gathering."""

    def __init__(
        self, parts: Parts, into: NDArray[Any], compute: Compute, on_progress: OnProgress, held: ExitStack
    ) -> None:
        self.parts, self.into, self.compute, self.on_progress, self.held = parts, into, compute, on_progress, held
        self.missing = list(parts.slices)
        self.unkept: list[slice] = []
        self.started, self.done = time.monotonic(), 0
        self.is_shared = False  # whether another process was seen at work

    def read_all(self) -> None:
        """Fill in what is kept."""
        for part in list(self.missing):
            self._is_read(part)

    def goes_on(self) -> bool:
        """Fill in the first part that is kept, or that nobody else computes; False if there is none."""
        for part in self.missing:
            if self._is_read(part):
                return True
            if (claim := self.parts.claim(part)) is None:
                self.is_shared = True
                continue
            self.held.push(claim)
            if not self._is_read(part):  # kept since it was looked for
                self._compute(part)
            return True
        return False

    def _is_read(self, part: slice) -> bool:
        found = self.parts.read(part, self.into.shape[1:])
        if found is not None:
            self.into[part] = found
            self._finish(part)
        return found is not None

    def _compute(self, part: slice) -> None:
        size = part.stop - part.start

        def tell(done: int) -> None:
            if done < size:  # that all of it is done is told when it is kept: a stop may follow
                self.on_progress(self.done + done)

        self.into[part] = self.compute(part, tell)
        self._finish(part)
        self.unkept.append(part)
        if time.monotonic() - self.started >= WORTH_KEEPING_SECONDS:
            self.hand_on()
        self.on_progress(self.done)

    def hand_on(self) -> None:
        """Keep what was computed and hold it no longer: whoever waits for it may hold what is waited for here."""
        for each in self.unkept:
            self.parts.keep(each, self.into[each])
        self.unkept.clear()
        self.held.close()

    def _finish(self, part: slice) -> None:
        self.missing.remove(part)
        self.done += part.stop - part.start
