"""What values are made of: frozen models, and what a field of one says of itself to people who may set it."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

LARGEST_SEED = 2**62  # what is added for replicas and other images leaves it in 64 bits, which databases and torch hold
MOST = 10**9  # of whatever is counted: more than any machine trains, draws or asks for
MOST_AT_ONCE = 10_000  # of what there is a search, a process or a row for


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
