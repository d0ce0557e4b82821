"""What each part is given: where it computes, how large, until when, on which images, and where its rows go.

A row that fails is a row and not the end of its part: one for which memory or a package is missing says so in a
sentence, any other keeps its traceback, and the command then ends with exit code 1.
"""

import gc
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffusion.data.card import DataCard
from diffusion.data.images import prepare_images
from diffusion.errors import UserError
from diffusion.settings import Precision, Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec
from diffusion.training.child import is_out_of_memory
from gpu.results import Figure, Machine, Result, Row, save
from gpu.sizes import Sizes

LACKING = (ModuleNotFoundError, UserError)  # what the machine does not have
Measured = tuple[str, Mapping[str, Figure]]  # in words, in figures


class Wrong(Exception):
    """A measurement came out as it must not; the figures are kept."""

    def __init__(self, said: str, figures: Mapping[str, Figure]) -> None:
        super().__init__(said)
        self.figures = figures


@dataclass
class Bench:
    """One part under way; every row is on the disk as soon as it is known."""

    part: str
    command: str
    device: str  # cpu or cuda
    sizes: Sizes
    out: Path
    seconds: float  # that the part may take
    cores: int
    dataset: str | None = None  # a path to an .npz; without it images are made up
    inception: Path | None = None
    rows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.machine = Machine.here(self.device, self.cores)

    @property
    def folder(self) -> Path:
        """Where the part may leave files."""
        return self.out / "work" / self.part

    def until(self, share: float = 1.0) -> float:
        """The moment (monotonic) at which so much of the time is over."""
        return self.started + share * self.seconds

    def row(self, what: str, measure: Callable[[], Measured], share: float = 1.0) -> bool:
        """Measure a row, unless so large a share of the time is over; whether it came out right."""
        if time.monotonic() > self.until(share):
            self.skipped.append(what)
            self.keep()
            return False
        try:
            said, figures = measure()
            found = Row(what=what, said=said, figures=dict(figures))
        except Exception as error:  # every failure is a row, with its reason
            found = _failed(what, error)
        self._free()
        self.rows.append(found)
        self.keep()
        print(f"  {what}: {found.said}", file=sys.stderr, flush=True)
        return found.is_right

    def keep(self, ended: bool = False) -> Path:
        """Write what is known."""
        result = Result(
            part=self.part,
            command=self.command,
            date=str(date.today()),
            machine=self.machine,
            seconds=round(time.monotonic() - self.started, 1),
            rows=tuple(self.rows),
            skipped=tuple(self.skipped),
        )
        return save(result, self.out, ended)

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def card(self) -> DataCard:
        """The images, prepared: those that were given, else smooth ones that a network can learn something from."""
        if self.dataset:
            return prepare_images(self.dataset, self.data_folder)
        path = self.out / "work" / "images.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, x_train=_smooth(self.sizes))
        return prepare_images(str(path), self.data_folder)

    @property
    def data_folder(self) -> Path:
        return self.out / "work" / "data"

    def job(self, name: str, spec: str, precision: Precision, **changes: Any) -> TrainJob:
        """A training on these images, computed as a search on this device would; `changes` are of its strategy too."""
        card, layout = self.card(), {"channels_last": self.device == "cuda" and precision == "bf16"}
        strategy = {one: changes.pop(one) for one in list(changes) if one in Strategy.model_fields}
        return TrainJob(
            spec=UNetSpec.parse(spec),
            settings=Settings(dataset="benchmark", resolution=card.resolution, channels=card.channels),
            strategy=Strategy(**strategy),
            seed=0,
            data_fingerprint=card.fingerprint,
            data_folder=self.data_folder,
            run_folder=self.folder / name,
            precision=precision,
            **{"threads": self.cores, **layout, **changes},
        )

    def _free(self) -> None:
        """Give the device's memory back, so that the next row finds it; traces of failures would hold it."""
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()


def _failed(what: str, error: Exception) -> Row:
    """Why a row has no figure."""
    if isinstance(error, Wrong):
        return Row(what=what, said=str(error), figures=dict(error.figures), is_right=False)
    if is_out_of_memory(error):
        return Row(what=what, said="out of memory", figures={"out_of_memory": True})
    if isinstance(error, LACKING):
        return Row(what=what, said=f"not measured: {error}")
    traceback.print_exc()
    said = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
    return Row(what=what, said=f"failed: {said}"[:300], is_right=False, trace=traceback.format_exc())


def _smooth(sizes: Sizes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Images of four by four random colours with smooth passages, the same on every machine.  (N,R,R,C)"""
    draws = np.random.default_rng(0).random((sizes.images, 5, 5, sizes.channels))
    at = np.arange(sizes.resolution) * 4 / sizes.resolution
    low = at.astype(int)
    share = at - low
    for axis in (1, 2):
        weight = np.expand_dims(share, tuple(range(1, 4 - axis)))
        draws = np.take(draws, low, axis) * (1 - weight) + np.take(draws, low + 1, axis) * weight
    return np.round(255 * draws).astype(np.uint8)
