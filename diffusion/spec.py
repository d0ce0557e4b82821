"""A UNet as a few numbers: the paper's ten for four stages (DiffNAS, arXiv 2310.04750, Section IV-A), eight to fourteen
for three to six.

``b128-n2-m1.2.2.2-a0100`` reads: 128 base channels, 2 residual blocks per stage, channel multipliers 1, 2, 2, 2, and
attention at the second stage; stage 0 is the full resolution. What a spec costs stands in `diffusion.cost.closed_form`,
what it becomes in `diffusion.unet`, what is near it in `diffusion.neighbourhood`, where it is searched in
`diffusion.space`, and which specs are one network in `diffusion.networks`. This module imports no torch.
"""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from diffusion.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_STAGES, PAPER_STAGES, MOST_STAGES = 3, 4, 6
MAX_BASE, MAX_MULTIPLIER = 1024, 8
SPEC_TEXT = re.compile(r"b(\d{1,9})-n(\d{1,9})-m(\d{1,9}(?:\.\d{1,9}){2,5})-a([01]{3,6})")

Rows: TypeAlias = "NDArray[np.int64]"  # (N, 2 + 2 stages), as `UNetSpec.row`


def parameters(stages: int) -> tuple[str, ...]:
    """The names of a spec's numbers in the order of its row."""
    return (
        "base_channel",
        "num_blocks",
        *(f"mult_{stage}" for stage in range(stages)),
        *(f"attn_{stage}" for stage in range(stages)),
    )


PARAMETERS, PAPER_PARAMETERS = parameters(MOST_STAGES), parameters(PAPER_STAGES)
"""The names of all numbers that a spec can have, and of the ten that one of four stages has."""


def stages_of(rows: Rows) -> int:
    """How many stages rows have."""
    return (int(rows.shape[1]) - 2) // 2


class UNetSpec(BaseModel):
    """The numbers of one UNet of three to six stages; frozen, hashable, ordered as `parameters`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_channel: Annotated[int, Field(ge=4, le=MAX_BASE, multiple_of=4, description="channels of the first stage")]
    num_blocks: Annotated[int, Field(ge=1, le=8, description="residual blocks per stage and direction")]
    channel_mult: Annotated[
        tuple[Annotated[int, Field(ge=1, le=MAX_MULTIPLIER)], ...],
        Field(
            min_length=LEAST_STAGES,
            max_length=MOST_STAGES,
            description="channels of each stage as multiples of base_channel",
        ),
    ]
    attn: Annotated[
        tuple[bool, ...],
        Field(
            min_length=LEAST_STAGES,
            max_length=MOST_STAGES,
            description="self-attention at each stage, full resolution first",
        ),
    ]

    @model_validator(mode="after")
    def _same_stages(self) -> Self:
        if len(self.channel_mult) != len(self.attn):
            said = f"{len(self.channel_mult)} multipliers and {len(self.attn)} attention flags"
            raise ValueError(f"{said}; every stage has one of each")
        return self

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
            if first["type"] == "value_error":
                raise UserError(f"'{value}' is not a spec: {first['ctx']['error']}") from None
            given = "" if first["type"] == "missing" else f"={first['input']}"
            raise UserError(f"'{value}' is not a spec: {field}{given}: {first['msg'].lower()}") from None

    @classmethod
    def from_row(cls, row: "Sequence[int] | NDArray[np.int64]") -> "UNetSpec":
        """The spec of numbers in the order of `parameters`."""
        base, blocks, *others = (int(number) for number in row)
        stages = len(others) // 2
        return cls(
            base_channel=base,
            num_blocks=blocks,
            channel_mult=tuple(others[:stages]),
            attn=tuple(bool(number) for number in others[stages:]),
        )

    @property
    def stages(self) -> int:
        """How many resolutions it has."""
        return len(self.channel_mult)

    @property
    def numbers(self) -> dict[str, int]:
        """Each number by its name, in the order of `parameters`."""
        return dict(zip(parameters(self.stages), self.row, strict=True))

    @property
    def row(self) -> tuple[int, ...]:
        """The numbers in the order of `parameters`."""
        return (self.base_channel, self.num_blocks, *self.channel_mult, *(int(flag) for flag in self.attn))

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each stage, full resolution first."""
        return tuple(self.base_channel * multiplier for multiplier in self.channel_mult)

    @property
    def widths(self) -> str:
        """The channels of each stage as text for tables: ``128.256.256.256``."""
        return ".".join(map(str, self.channels))

    def __str__(self) -> str:
        multipliers = ".".join(map(str, self.channel_mult))
        bits = "".join(str(int(flag)) for flag in self.attn)
        return f"b{self.base_channel}-n{self.num_blocks}-m{multipliers}-a{bits}"


def _fields(value: object) -> object:
    """The text form as a dictionary; anything else as it is, for pydantic to judge."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith('"'):  # encoded twice
        with suppress(ValueError, RecursionError):
            return _fields(json.loads(value))
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


def widths(spec: str) -> str:
    """The channels of each stage of a spec in its text form, for tables."""
    return UNetSpec.parse(spec).widths


SpecField = Annotated[UNetSpec, BeforeValidator(_fields)]
"""A pydantic field that takes a spec as text or as an object."""
