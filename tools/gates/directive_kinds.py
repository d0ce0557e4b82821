"""What a person may tell a search, each kind as a type: what it takes, what it says, which specs it leaves.

Three sorts: a *limit* (freeze, restrict, cap, ban, near, in `tools.gates.limits`; strategy_bounds) and a *mode* hold
until they are taken back; an *order* (try, rounds, pause, stop, backend, allowance) is carried out once. Who sees to
that is not known here (`tools.gates.directives`, `agent.search.directives`). Text becomes a directive through pydantic
alone.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from diffusion.errors import UserError
from diffusion.settings import Strategy
from diffusion.space import SearchSpace
from memory.directives import DirectiveRow
from tools.gates.limits import Ban, Cap, DirectiveKind, Freeze, Near, Restrict, SpecOfTheSpace

STRATEGY_FIELDS = tuple(name for name in Strategy.model_fields if name not in ("gradient_clip", "weight_decay"))


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
    spec: SpecOfTheSpace

    def say(self) -> str:
        return f"try {self.spec} next"


class Rounds(DirectiveKind):
    """How many rounds the search has after the baseline's."""

    kind: Literal["rounds"] = "rounds"
    rounds: Annotated[int, Field(ge=0, le=1_000_000)]

    def say(self) -> str:
        return f"end after round {self.rounds}" if self.rounds else "end after the baseline"


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


def parse_directive(kind: str, arguments: dict[str, Any], space: SearchSpace | None = None) -> Directive:
    """The directive of a kind and its arguments, as a person, a model or the memory gives them.

    With a `space` its numbers and stages are those of the space.

    Raises:
        UserError: one sentence with what is wrong and what would be right.
    """
    if kind not in KINDS:
        raise UserError(f"'{kind}' is not a kind of directive; there are {', '.join(KINDS)}")
    try:
        return ADAPTER.validate_python({**arguments, "kind": kind}, context=space)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])  # the first part is the kind
        said = first["msg"].removeprefix("Value error, ")
        given = "" if first["type"] == "missing" or not field else f" {str(first['input'])[:80]}"
        raise UserError(f"'{kind}{given}' cannot be obeyed: {f'{field}: ' if field else ''}{said}") from None


def directive_of(directive: DirectiveRow) -> Directive:
    """What a stored directive says."""
    return parse_directive(directive.kind, directive.arguments)


def described(directive: DirectiveRow) -> str:
    """A directive as it is listed: by what it means, and behind that what was said, unless that was a slash form."""
    said = "" if directive.text.startswith("/") else f" ({directive.said})"
    return f"directive {directive.id}: {directive_of(directive).say()}{said}"


def arguments_of(directive: Directive) -> dict[str, Any]:
    """A directive's arguments as JSON-ready values, without its kind; specs as text."""
    found = directive.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
    return found | ({"spec": str(directive.spec)} if isinstance(directive, Try | Near) else {})


LASTING = tuple(kind for kind, known in KINDS.items() if not known.once)
