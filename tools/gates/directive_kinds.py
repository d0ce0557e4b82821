"""What a person may tell a search, each kind as a type: what it takes, what it says, which specs it leaves.

Three sorts: a *limit* (freeze, restrict, cap, ban, near, strategy_bounds) and a *mode* hold until they are taken back;
an *order* (try, rounds, pause, stop, backend, allowance) is carried out once. Who sees to that is not known here
(`tools.gates.directives`, `agent.search.directives`). Text becomes a directive through pydantic alone.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from diffusion.errors import UserError
from diffusion.neighbourhood import distances
from diffusion.settings import Strategy
from diffusion.spec import PARAMETERS, Rows, SpecField
from diffusion.units import format_size
from memory.directives import DirectiveRow
from tools.gates.facts import ROUNDING, Facts, Mask, column, inside, region

STRATEGY_FIELDS = tuple(name for name in Strategy.model_fields if name != "gradient_clip")
NEAR = 2.0  # doublings or changed attentions: a few steps of the space
UNITS = {
    "params": "params",
    "memory_bytes": "bytes of memory in training",
    "macs_total": "MACs (total)",
    "macs_paper": "MACs (paper)",
}


def _known(parameter: str) -> str:
    if parameter not in PARAMETERS:
        raise ValueError(f"'{parameter}' is not one of the ten numbers {', '.join(PARAMETERS)}")
    return parameter


def _readable(pattern: str) -> str:
    region(pattern)
    return pattern.strip()


Parameter = Annotated[str, AfterValidator(_known)]
Value = Annotated[int, Field(ge=0, le=1024)]


class DirectiveKind(BaseModel):
    """One directive."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    once: ClassVar[bool] = True  # carried out once; else it holds until it is taken back

    def say(self) -> str:
        """The directive in one line for people."""
        raise NotImplementedError


class Limit(DirectiveKind):
    """A directive that leaves some specs and forbids the others."""

    once: ClassVar[bool] = False

    def mask(self, rows: Rows, facts: Facts) -> Mask:
        """Which rows it leaves."""
        raise NotImplementedError


class Shape(Limit):
    """A limit that looks at the ten numbers alone."""

    def leaves(self, rows: Rows) -> Mask:
        """Which rows it leaves."""
        raise NotImplementedError

    def mask(self, rows: Rows, facts: Facts) -> Mask:
        return self.leaves(rows)


class Freeze(Shape):
    """One of the ten numbers stays as it is said."""

    kind: Literal["freeze"] = "freeze"
    parameter: Parameter
    value: Value

    def say(self) -> str:
        return f"{self.parameter} stays {self.value}"

    def leaves(self, rows: Rows) -> Mask:
        return np.asarray(column(rows, self.parameter) == self.value)


class Restrict(Shape):
    """One of the ten numbers takes these values alone."""

    kind: Literal["restrict"] = "restrict"
    parameter: Parameter
    values: Annotated[tuple[Value, ...], Field(min_length=1)]

    def say(self) -> str:
        return f"{self.parameter} is one of {', '.join(map(str, self.values))}"

    def leaves(self, rows: Rows) -> Mask:
        return np.isin(column(rows, self.parameter), self.values)


class Cap(Limit):
    """A cost that no spec may exceed. Latency is measured, for one image on the device of the trainings."""

    kind: Literal["cap"] = "cap"
    what: Literal["params", "latency_ms", "memory_bytes", "macs_total", "macs_paper"]
    at_most: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    def say(self) -> str:
        if self.what == "latency_ms":
            return f"at most {self.at_most:g} ms for one image"
        return f"at most {format_size(self.at_most)} {UNITS[self.what]}"

    def mask(self, rows: Rows, facts: Facts) -> Mask:
        """Latency is not counted here: `objection` has it measured."""
        if self.what == "latency_ms":
            return np.ones(len(rows), dtype=np.bool_)
        found = facts.memory_bytes(rows) if self.what == "memory_bytes" else getattr(facts.costs(rows), self.what)
        return np.asarray(found <= self.at_most)


class Ban(Shape):
    """A spec, or all specs of a region, are left out."""

    kind: Literal["ban"] = "ban"
    pattern: Annotated[str, AfterValidator(_readable)]

    def say(self) -> str:
        return f"never {self.pattern}"

    def leaves(self, rows: Rows) -> Mask:
        return ~inside(region(self.pattern), rows)


class Near(Shape):
    """Only specs within a distance of this one: a doubling of a number, or a changed attention, counts one."""

    kind: Literal["near"] = "near"
    spec: SpecField
    distance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = NEAR

    def say(self) -> str:
        return f"within {self.distance:g} of {self.spec}"

    def leaves(self, rows: Rows) -> Mask:
        return np.asarray(distances(rows, self.spec) <= self.distance + ROUNDING)


class StrategyBounds(DirectiveKind):
    """Bounds of one value of the training strategies, in a search for a strategy."""

    once: ClassVar[bool] = False
    kind: Literal["strategy_bounds"] = "strategy_bounds"
    field: Literal[STRATEGY_FIELDS]  # type: ignore[valid-type]  # the fields of a strategy, from where they are defined
    low: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    high: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self

    def say(self) -> str:
        return f"{self.field} from {self.low:g} to {self.high:g}"


class Mode(DirectiveKind):
    """Whether to look far from what was tried, or close to the best."""

    once: ClassVar[bool] = False
    kind: Literal["mode"] = "mode"
    mode: Literal["explore", "exploit"]

    def say(self) -> str:
        return "explore: look far from what was tried" if self.mode == "explore" else "exploit: stay close to the best"


class Try(DirectiveKind):
    """Exactly this spec next."""

    kind: Literal["try"] = "try"
    spec: SpecField

    def say(self) -> str:
        return f"try {self.spec} next"


class Rounds(DirectiveKind):
    """How many rounds the search has after the baseline's."""

    kind: Literal["rounds"] = "rounds"
    rounds: Annotated[int, Field(ge=0, le=1_000_000)]

    def say(self) -> str:
        return f"{self.rounds} rounds after the baseline"


class Pause(DirectiveKind):
    """Begin no further round."""

    kind: Literal["pause"] = "pause"

    def say(self) -> str:
        return "pause after the trials under way"


class Stop(DirectiveKind):
    """End the search."""

    kind: Literal["stop"] = "stop"

    def say(self) -> str:
        return "stop after the trials under way"


class Backend(DirectiveKind):
    """Another language model from the next round on."""

    kind: Literal["backend"] = "backend"
    llm: Annotated[str, Field(min_length=1, max_length=200)]
    base_url: Annotated[str | None, Field(max_length=500)] = None

    def say(self) -> str:
        return f"{self.llm} proposes from the next round on" + (f", at {self.base_url}" if self.base_url else "")


class Allowance(DirectiveKind):
    """What the search may use in all."""

    kind: Literal["allowance"] = "allowance"
    max_cost: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    max_hours: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    max_tokens: Annotated[int | None, Field(gt=0)] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.limits:
            raise ValueError("an allowance names max_cost, max_hours or max_tokens")
        return self

    @property
    def limits(self) -> dict[str, float | int]:
        """What it names, by the names of the settings."""
        return self.model_dump(exclude_none=True, exclude={"kind"})

    def say(self) -> str:
        names = {"max_cost": "USD", "max_hours": "hours", "max_tokens": "tokens"}
        return "at most " + ", ".join(f"{value:g} {names[name]}" for name, value in self.limits.items())


Directive = Annotated[
    Freeze | Restrict | Cap | Try | Ban | Near | Mode | Rounds | Pause | Stop | StrategyBounds | Backend | Allowance,
    Field(discriminator="kind"),
]
ADAPTER: TypeAdapter[Directive] = TypeAdapter(Directive)
KINDS: dict[str, type[DirectiveKind]] = {
    found.model_fields["kind"].default: found
    for found in (
        Freeze, Restrict, Cap, Try, Ban, Near, Mode, Rounds, Pause, Stop, StrategyBounds, Backend, Allowance,
    )
}  # fmt: skip


def parse_directive(kind: str, arguments: dict[str, Any]) -> Directive:
    """The directive of a kind and its arguments, as a person, a model or the memory gives them.

    Raises:
        UserError: one sentence with what is wrong and what would be right.
    """
    if kind not in KINDS:
        raise UserError(f"'{kind}' is not a kind of directive; there are {', '.join(KINDS)}")
    try:
        return ADAPTER.validate_python({**arguments, "kind": kind})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])  # the first part is the kind
        said = first["msg"].removeprefix("Value error, ")
        given = "" if first["type"] == "missing" or not field else f" {str(first['input'])[:80]}"
        raise UserError(f"'{kind}{given}' cannot be obeyed: {f'{field}: ' if field else ''}{said}") from None


def directive_of(directive: DirectiveRow) -> Directive:
    """What a stored directive says."""
    return parse_directive(directive.kind, directive.arguments)


def arguments_of(directive: Directive) -> dict[str, Any]:
    """A directive's arguments as JSON-ready values, without its kind; specs as text."""
    found = directive.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
    return found | ({"spec": str(directive.spec)} if isinstance(directive, Try | Near) else {})


LASTING = tuple(kind for kind, known in KINDS.items() if not known.once)
