"""What values are made of: frozen models, and what a field of one says of itself to people who may set it."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value: immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Setting:
    """What people are told of a field that they may set: options, `.env.example` and the documentation show it.

    Its texts may hold backticks, and `more` links, which are left out where they cannot be shown.
    """

    help: str  # begins with a small letter and has no full stop
    option: str | None = None  # what stands for the value of its option, or a flag's spellings; None: it has none
    more: str = ""  # what the documentation adds
    example: str = ""  # a value, where the default is none
