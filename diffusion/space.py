"""Search spaces: what each number of a spec may be. A space is data; the built-in ones lie in `diffusion/spaces/`.

A file gives the choices of each number, one list for every stage or one list for each::

    name = "small"
    stages = 4                                  # three to six
    baseline = "b16-n1-m1.2.2.2-a0100"          # trained in round 0 unless another is asked for
    base_channel = [8, 16]
    num_blocks = [1, 2]
    channel_mult = [[1], [1, 2], [1, 2], [1, 2, 3]]
    attn = [[false], [false, true], [false, true], [false]]

This module imports no torch.
"""

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from diffusion.errors import UserError
from diffusion.files.paths import user_path
from diffusion.files.text import read_toml
from diffusion.spec import LEAST_STAGES, MOST_STAGES, PAPER_STAGES, Rows, SpecField, UNetSpec, parameters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BUILT_IN = Path(__file__).parent / "spaces"
ENUMERABLE = 2_000_000  # members that are looked at one and all; of a larger space a sample is
SAMPLED = 200_000

Value = TypeVar("Value", int, bool)
Choices = Annotated[tuple[Value, ...], Field(min_length=1)]


class SearchSpace(BaseModel):
    """What each of the numbers may be. The product of the choices is the space."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    stages: Annotated[int, Field(ge=LEAST_STAGES, le=MOST_STAGES)] = PAPER_STAGES
    base_channel: Choices[int]
    num_blocks: Choices[int]
    channel_mult: tuple[Choices[int], ...]  # of each stage, full resolution first
    attn: tuple[Choices[bool], ...]
    baseline: SpecField | None = None

    @model_validator(mode="before")
    @classmethod
    def _each_stage(cls, given: Any) -> Any:
        """One list of choices for every stage stands for one list each."""
        if not isinstance(given, Mapping):
            return given
        values = {"attn": [False, True], **given}
        stages = values.get("stages", PAPER_STAGES)
        for name in ("channel_mult", "attn"):
            choices = values.get(name)
            is_flat = isinstance(choices, list | tuple) and not any(isinstance(each, list | tuple) for each in choices)
            if is_flat and isinstance(stages, int):
                values[name] = [choices] * stages
        return values

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Every stage has its choices, each a value that a spec may have, ascending and once."""
        for name in ("channel_mult", "attn"):
            if len(getattr(self, name)) != self.stages:
                raise ValueError(
                    f"{name} has choices for {len(getattr(self, name))} stages, and there are {self.stages}"
                )
        for name, values in self.choices.items():
            if list(values) != sorted(set(values)):
                raise ValueError(f"the choices of {name} are {', '.join(map(str, values))}; write each once, ascending")
        for number in range(max(map(len, self.choices.values()))):  # a spec judges its own numbers
            row = [values[min(number, len(values) - 1)] for values in self.choices.values()]
            try:
                UNetSpec.from_row(row)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"])
                raise ValueError(f"{place}={first['input']}: {first['msg'].lower()}") from None
        if self.baseline is not None and (sentence := self.why_not(self.baseline)):
            raise ValueError(f"baseline {self.baseline}: {sentence}")
        return self

    @classmethod
    def from_choices(cls, name: str, choices: Mapping[str, Sequence[int]]) -> Self:
        """The space of allowed values by parameter name, as `choices` gives them."""
        stages = (len(choices) - 2) // 2
        of_each = {kind: tuple(choices[f"{kind}_{stage}"] for stage in range(stages)) for kind in ("mult", "attn")}
        return cls(
            name=name,
            stages=stages,
            base_channel=tuple(choices["base_channel"]),
            num_blocks=tuple(choices["num_blocks"]),
            channel_mult=tuple(tuple(values) for values in of_each["mult"]),
            attn=tuple(tuple(bool(flag) for flag in flags) for flags in of_each["attn"]),
        )

    @cached_property
    def choices(self) -> dict[str, tuple[int, ...]]:
        """Allowed values by parameter name, ascending, in the order of a row."""
        flags = (tuple(int(flag) for flag in each) for each in self.attn)
        values = (self.base_channel, self.num_blocks, *self.channel_mult, *flags)
        return dict(zip(parameters(self.stages), values, strict=True))

    @property
    def size(self) -> int:
        """How many specs the space holds."""
        return math.prod(len(values) for values in self.choices.values())

    @property
    def smallest(self) -> UNetSpec:
        """The member that costs least: every cost grows with each of the numbers."""
        return UNetSpec.from_row([values[0] for values in self.choices.values()])

    @property
    def largest(self) -> UNetSpec:
        """The member that costs most."""
        return UNetSpec.from_row([values[-1] for values in self.choices.values()])

    @property
    def middle(self) -> UNetSpec:
        """The member whose numbers are the middle ones of their choices, the lower of two."""
        return UNetSpec.from_row([values[(len(values) - 1) // 2] for values in self.choices.values()])

    @property
    def is_enumerable(self) -> bool:
        """Whether all its members can be looked at."""
        return self.size <= ENUMERABLE

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of its choices; its name and its baseline are no part of them."""
        return hashlib.sha256(json.dumps(self.choices).encode()).hexdigest()[:12]

    def why_not(self, spec: UNetSpec) -> str | None:
        """One sentence that names the first parameter outside the space, or None for a member."""
        if spec.stages != self.stages:
            return f"it has {spec.stages} stages, and a spec of the space {self.name} has {self.stages}"
        for (name, allowed), value in zip(self.choices.items(), spec.row, strict=True):
            if value not in allowed:
                return f"{name}={value} is outside the space {self.name}: allowed are {', '.join(map(str, allowed))}"
        return None

    def holds(self, rows: Rows) -> "NDArray[np.bool_]":
        """Which rows are members.  (N, 2 + 2 stages) → (N,)"""
        import numpy as np

        columns = zip(rows.T, self.choices.values(), strict=True)
        fits = [np.isin(column, allowed) for column, allowed in columns]
        return np.asarray(np.array(fits, dtype=np.bool_).all(axis=0))

    def sample(self, rng: random.Random) -> UNetSpec:
        """One member, uniformly."""
        return UNetSpec.from_row([rng.choice(allowed) for allowed in self.choices.values()])

    def __str__(self) -> str:
        return self.name

    def __iter__(self) -> Iterator[UNetSpec]:  # type: ignore[override]  # a space is its members, not its fields
        return (UNetSpec.from_row(row) for row in itertools.product(*self.choices.values()))

    def rows(self, seed: int = 0) -> Rows:
        """Every member as a row, or of more than `ENUMERABLE` the smallest and a sample.  (N, 2 + 2 stages)"""
        import numpy as np  # not before it is asked for: the command line knows specs, and is to start at once

        columns = [np.array(values) for values in self.choices.values()]
        if self.is_enumerable:
            grids = np.meshgrid(*columns, indexing="ij")
            return np.stack([grid.ravel() for grid in grids], axis=1).astype(np.int64)
        rng = np.random.default_rng(seed)
        sample = np.stack([rng.choice(values, SAMPLED) for values in columns], axis=1).astype(np.int64)
        return np.vstack([np.array([self.smallest.row]), sample])


@cache
def built_in(name: str) -> SearchSpace:
    """A space that comes with the package.

    Raises:
        KeyError: there is none of that name.
    """
    file = BUILT_IN / f"{name}.toml"
    if name not in SPACE_NAMES:
        raise KeyError(name)
    return SearchSpace.model_validate(read_toml(file))


def find_space(value: object) -> SearchSpace:
    """The space of a name, of a file, or of the values of one.

    Raises:
        UserError: one sentence that starts with what was given, and what is wrong with it.
    """
    if isinstance(value, SearchSpace):
        return value
    if isinstance(value, Mapping):
        return _space(value, "[space]")
    text = str(value).strip()
    if text in SPACE_NAMES:
        return built_in(text)
    if text.startswith("{"):
        try:
            return _space(json.loads(text), "[space]")
        except ValueError as error:
            raise UserError(f"'{text}' is not a space: its JSON is broken ({error})") from None
    path = user_path(text)
    if not path.is_file():
        raise UserError(f"'{text}' does not exist; name a file, or one of {', '.join(SPACE_NAMES)}")
    return _space(read_toml(path), text)


def stored_space(space: SearchSpace) -> str | dict[str, Any]:
    """What a search keeps of its space: the name of a built-in one as it is here, or all of it."""
    if space.name in SPACE_NAMES and space == built_in(space.name):
        return space.name
    return space.model_dump(mode="json", exclude={"baseline"}) | {"baseline": space.baseline and str(space.baseline)}


def _space(values: Mapping[str, Any], where: str) -> SearchSpace:
    """Raises `UserError` with the first thing that is wrong."""
    unknown = next((name for name in values if name not in SearchSpace.model_fields), None)
    if unknown is not None:
        raise UserError(f"'{unknown}' in {where} is no key of a space; there are {', '.join(SearchSpace.model_fields)}")
    try:
        return SearchSpace.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    cause = (first.get("ctx") or {}).get("error")
    if first["type"] == "too_short":
        raise UserError(f"'{place}' in {where} is empty; name at least one choice")
    said = str(cause) if cause else first["msg"][0].lower() + first["msg"][1:]
    raise UserError(f"'{place}' in {where}: {said}" if place else f"{where}: {said}")


SPACE_NAMES = tuple(sorted(file.stem for file in BUILT_IN.glob("*.toml")))
