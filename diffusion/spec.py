"""A UNet as ten numbers, and the space those numbers are searched in (DiffNAS, arXiv 2310.04750, Section III).

``b128-n2-m1.2.2.2-a0100`` reads: 128 base channels, 2 residual blocks per stage, channel multipliers 1, 2, 2, 2, and
attention at the second stage; stage 0 is the full resolution. What a spec costs stands in `diffusion.cost.closed_form`,
what it becomes in `diffusion.unet`, what is near it in `diffusion.neighbourhood`. This module imports no torch.
"""

import itertools
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from diffusion.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STAGES = 4  # fixed by the paper's spec: channel_mult[4], attn[4]
SPEC_TEXT = re.compile(r"b(\d{1,9})-n(\d{1,9})-m(\d{1,9}(?:\.\d{1,9}){3})-a([01]{4})")
PARAMETERS = (
    "base_channel", "num_blocks", "mult_0", "mult_1", "mult_2", "mult_3", "attn_0", "attn_1", "attn_2", "attn_3",
)  # fmt: skip

Rows: TypeAlias = "NDArray[np.int64]"  # (N, 10), as `UNetSpec.row`


class UNetSpec(BaseModel):
    """The ten numbers of one UNet; frozen, hashable, ordered as `PARAMETERS`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_channel: Annotated[int, Field(ge=4, le=1024, multiple_of=4, description="channels of the first stage")]
    num_blocks: Annotated[int, Field(ge=1, le=8, description="residual blocks per stage and direction")]
    channel_mult: Annotated[
        tuple[Annotated[int, Field(ge=1, le=8)], ...],
        Field(min_length=STAGES, max_length=STAGES, description="channels of each stage as multiples of base_channel"),
    ]
    attn: Annotated[
        tuple[bool, ...],
        Field(min_length=STAGES, max_length=STAGES, description="self-attention at each stage, full resolution first"),
    ]

    @classmethod
    def parse(cls, value: "str | dict[str, Any] | UNetSpec") -> "UNetSpec":
        """A spec from its text form, its JSON object, or itself.

        Raises:
            UserError: one sentence with the value, the field and what is allowed.
        """
        if isinstance(value, UNetSpec):
            return value
        try:
            return cls.model_validate(_fields(value))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "spec"
            given = "" if first["type"] == "missing" else f"={first['input']}"
            raise UserError(f"'{value}' is not a spec: {field}{given}: {first['msg'].lower()}") from None

    @classmethod
    def from_row(cls, row: "Sequence[int] | NDArray[np.int64]") -> "UNetSpec":
        """The spec of ten numbers in the order of `PARAMETERS`."""
        numbers = [int(number) for number in row]
        return cls(
            base_channel=numbers[0],
            num_blocks=numbers[1],
            channel_mult=tuple(numbers[2:6]),
            attn=tuple(bool(number) for number in numbers[6:10]),
        )

    @property
    def row(self) -> tuple[int, ...]:
        """The ten numbers in the order of `PARAMETERS`."""
        return (self.base_channel, self.num_blocks, *self.channel_mult, *(int(flag) for flag in self.attn))

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each stage, full resolution first."""
        return tuple(self.base_channel * multiplier for multiplier in self.channel_mult)

    def __str__(self) -> str:
        multipliers = ".".join(map(str, self.channel_mult))
        bits = "".join(str(int(flag)) for flag in self.attn)
        return f"b{self.base_channel}-n{self.num_blocks}-m{multipliers}-a{bits}"


def _fields(value: object) -> object:
    """The text form as a dictionary; anything else as it is, for pydantic to judge."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:  # also a number of 5,000 digits, a thousand brackets
            raise UserError(f"'{value}' is not a spec: its JSON is broken ({error})") from None
    match = SPEC_TEXT.fullmatch(value.strip())
    if not match:
        raise UserError(f"'{value}' is not a spec; write it like b128-n2-m1.2.2.2-a0100")
    return {
        "base_channel": int(match[1]),
        "num_blocks": int(match[2]),
        "channel_mult": [int(part) for part in match[3].split(".")],
        "attn": [bit == "1" for bit in match[4]],
    }


SpecField = Annotated[UNetSpec, BeforeValidator(_fields)]
"""A pydantic field that takes a spec as text or as an object."""


class SearchSpace(BaseModel):
    """What each of the ten numbers may be. The product of the choices is the space."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    base_channel: tuple[int, ...]
    num_blocks: tuple[int, ...]
    channel_mult: tuple[int, ...]
    attn: tuple[bool, ...] = (False, True)

    @cached_property
    def choices(self) -> dict[str, tuple[int, ...]]:
        """Allowed values by parameter name, ascending, in the order of `PARAMETERS`."""
        attn = tuple(int(flag) for flag in self.attn)
        values = (self.base_channel, self.num_blocks, *[self.channel_mult] * STAGES, *[attn] * STAGES)
        return dict(zip(PARAMETERS, values, strict=True))

    @property
    def size(self) -> int:
        """How many specs the space holds."""
        return math.prod(len(values) for values in self.choices.values())

    def why_not(self, spec: UNetSpec) -> str | None:
        """One sentence that names the first parameter outside the space, or None for a member."""
        for (name, allowed), value in zip(self.choices.items(), spec.row, strict=True):
            if value not in allowed:
                return f"{name}={value} is outside the space {self.name}: allowed are {', '.join(map(str, allowed))}"
        return None

    def sample(self, rng: random.Random) -> UNetSpec:
        """One member, uniformly."""
        return UNetSpec.from_row([rng.choice(allowed) for allowed in self.choices.values()])

    def __iter__(self) -> Iterator[UNetSpec]:  # type: ignore[override]  # a space is its members, not its fields
        return (UNetSpec.from_row(row) for row in itertools.product(*self.choices.values()))

    def rows(self) -> Rows:
        """Every member as a row of ten numbers.  (size, 10)"""
        import numpy as np  # not before it is asked for: the command line knows specs, and is to start at once

        grids = np.meshgrid(*[np.array(values) for values in self.choices.values()], indexing="ij")
        return np.stack([grid.ravel() for grid in grids], axis=1).astype(np.int64)


IMAGES_32 = SearchSpace(
    name="images-32",
    base_channel=(32, 64, 96, 128, 160, 192),
    num_blocks=(1, 2, 3, 4, 5),
    channel_mult=(1, 2, 3, 4),
)
"""The paper's space for 32×32 data sets (Section IV-A): 122,880 specs."""

DIGITS = SearchSpace(name="digits-8", base_channel=(8, 16, 24, 32), num_blocks=(1, 2, 3), channel_mult=(1, 2, 3, 4))
"""Small widths for the embedded 8×8 digits, so that two CPU cores can search it: 49,152 specs."""

SPACES = {space.name: space for space in (IMAGES_32, DIGITS)}
