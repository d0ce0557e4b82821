"""UNetBench and tables like it: networks that were trained and scored once, so that a search can look results up.

A table is a file of this folder, ``NAME.json``, with its checksum beside it. Its space is a complete product: each spec
of it is an entry. Each network was trained with two seeds or more, the baseline with further ones, and each training
was scored at several steps; a score at step k is that of a training of k steps. How the one that is shipped was made
stands in docs/unetbench.md; what its numbers say of noise is `diffusion.unetbench.figures`'s. No torch is imported.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, PlainSerializer, ValidationError

from diffusion.data.card import DataCard
from diffusion.errors import UserError
from diffusion.frozen import Frozen
from diffusion.networks import network
from diffusion.settings import Protocol
from diffusion.space import SearchSpace
from diffusion.spec import SpecField, UNetSpec

FOLDER = Path(__file__).parent
SHOWN_DIGITS = 12  # of a checksum, as of every other fingerprint


class NoResult(Exception):
    """A training that the table does not have, or that gave no result; one sentence."""


class TrainingRow(Frozen):
    """One training of a network, with its scores step by step; one that failed has the reason instead."""

    seed: int  # of the weights, and of the images of its scores
    train_seconds: float  # of the whole training, on the device on which the table was made
    loss: float | None = None  # at the end
    scores: tuple[float | None, ...] = ()
    score_seconds: tuple[float, ...] = ()
    error: str | None = None


class NetworkRow(Frozen):
    """A network with its costs and its trainings."""

    spec: Annotated[SpecField, PlainSerializer(str)]
    macs_paper: int
    macs_total: int
    params: int
    trainings: tuple[TrainingRow, ...]


class Contents(Frozen):
    """What the file of a table holds."""

    name: str
    made: str  # when, with what, on what
    steps: Annotated[tuple[int, ...], Field(min_length=1)]  # ascending; the last is the end of a training
    protocol: Protocol  # of the last step
    card: DataCard
    space: SearchSpace  # with the baseline
    networks: tuple[NetworkRow, ...]


@dataclass(frozen=True)
class Shown:
    """What a search is shown of one training at one step."""

    step: int
    loss: float | None  # known of the whole training alone
    score: float | None
    train_seconds: float  # of the steps so far
    score_seconds: float


class Table:
    """A table that was read. A plain object: what dumps dataclasses and models by their fields leaves it alone."""

    def __init__(self, contents: Contents, sha256: str) -> None:
        self.contents, self.sha256 = contents, sha256

    @property
    def name(self) -> str:
        """What it is asked for by."""
        return self.contents.name

    @property
    def identity(self) -> str:
        """Its name and the beginning of its checksum: another version of it is another table."""
        return f"{self.name}-{self.sha256[:SHOWN_DIGITS]}"

    @property
    def steps(self) -> tuple[int, ...]:
        """The numbers of steps that a training may have."""
        return self.contents.steps

    @property
    def space(self) -> SearchSpace:
        """All specs of which it has results."""
        return self.contents.space

    @property
    def baseline(self) -> UNetSpec:
        """The spec with the most seeds."""
        return self.space.baseline or self.space.middle

    @cached_property
    def entries(self) -> Mapping[str, NetworkRow]:
        """Its networks by the name that they have in every spelling."""
        return {self._network(row.spec): row for row in self.contents.networks}

    @property
    def is_complete(self) -> bool:
        """Whether each spec of the space is there, with two seeds of which no score is missing."""
        rows = [self.entries.get(self._network(spec)) for spec in self.space]
        return all(row is not None and len(_scored(row, len(self.steps) - 1)) > 1 for row in rows)

    def protocol_at(self, step: int) -> Protocol:
        """What the scores at a step are comparable under."""
        protocol = self.contents.protocol
        return protocol.model_copy(update={"strategy": protocol.strategy.model_copy(update={"train_steps": step})})

    @cached_property
    def fingerprints(self) -> Mapping[str, int]:
        """The step of each protocol, by the protocol's fingerprint."""
        return {self.protocol_at(step).fingerprint: step for step in self.steps}

    def seeds(self, spec: UNetSpec) -> int:
        """How many trainings it has of a network."""
        row = self.entries.get(self._network(spec))
        return 0 if row is None else len(row.trainings)

    def scores(self, spec: UNetSpec, step: int) -> list[float]:
        """The scores of a network at a step, by ascending seed; those of trainings that failed are left out."""
        row = self.entries.get(self._network(spec))
        return [] if row is None else _scored(row, self.steps.index(step))

    def mean(self, spec: UNetSpec, step: int) -> float | None:
        """The geometric mean over the seeds, since another seed multiplies a score; None where there is no score."""
        found = self.scores(spec, step)
        return math.exp(math.fsum(map(math.log, found)) / len(found)) if found else None

    def shown(self, spec: UNetSpec, step: int, *, search_seed: int, number: int = 0) -> Shown:
        """One of the trainings of a network: in which order a search is shown them is drawn from its seed.

        Args:
            spec: of the network, in any spelling.
            step: one of `steps`.
            search_seed: two searches of one seed are shown the same.
            number: 0 for the first training that the search sees of the network, 1 for the next.

        Raises:
            NoResult: there is no such training, or it failed.
        """
        name = self._network(spec)
        row = self.entries.get(name)
        if row is None:
            raise NoResult(f"{spec} is not in the table {self.name}")
        if number >= len(row.trainings):
            has = f"{len(row.trainings)} training seeds of {spec}"
            raise NoResult(f"the table {self.name} has {has}, and training {number + 1} was asked for")
        drawn = sorted(row.trainings, key=lambda each: _draw(f"{search_seed} {name} {each.seed}"))[number]
        if drawn.error is not None:
            raise NoResult(drawn.error)
        place, is_whole = self.steps.index(step), step == self.steps[-1]
        return Shown(
            step=step,
            loss=drawn.loss if is_whole else None,
            score=drawn.scores[place],
            train_seconds=drawn.train_seconds * step / self.steps[-1],
            score_seconds=drawn.score_seconds[place],
        )

    def _network(self, spec: UNetSpec) -> str:
        return network(spec, self.contents.protocol.settings.family)


def find_table(name: str) -> Table:
    """The table of a name.

    Raises:
        UserError: there is none, or its file is not as it was made.
    """
    names = sorted(file.stem for file in FOLDER.glob("*.json"))
    if name not in names:
        raise UserError(f"'{name}' is not a table of trained networks; there are {', '.join(names) or 'none'}")
    return _read(FOLDER / f"{name}.json")


def write_table(contents: Contents, folder: Path) -> Path:
    """Write a table and its checksum, one network a line; where it lies now."""
    path, whole = folder / f"{contents.name}.json", contents.model_dump(mode="json", exclude_none=True)
    del whole["networks"]
    networks = ",\n".join(row.model_dump_json(exclude_none=True) for row in contents.networks)
    path.write_text(f'{json.dumps(whole)[:-1]}, "networks": [\n{networks}\n]}}\n')
    path.with_suffix(".sha256").write_text(_checksum_line(path))
    return path


def _checksum_line(path: Path) -> str:
    """The checksum of a file and its name, as `sha256sum` writes them."""
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"


@cache
def _read(path: Path) -> Table:
    """Raises `UserError` where a byte of the file is not as it was when its checksum was taken."""
    beside, line = path.with_suffix(".sha256"), _checksum_line(path)
    if not beside.is_file() or beside.read_text().split() != line.split():
        raise UserError(f"'{path}' is not the table that was made: its SHA-256 is another; install the package again")
    try:
        return Table(Contents.model_validate_json(path.read_bytes()), line.split()[0])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"'{path}' is not a table that this version reads: {place}: {first['msg']}") from None


def _scored(row: NetworkRow, place: int) -> list[float]:
    """The scores of a network at the step of a place."""
    found = [each.scores[place] for each in sorted(row.trainings, key=lambda each: each.seed) if each.error is None]
    return [score for score in found if score is not None]


def _draw(text: str) -> bytes:
    """What looks random and is a function of the text, on every machine."""
    return hashlib.sha256(text.encode()).digest()
