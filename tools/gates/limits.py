"""What a person may tell a search of which specs it is to leave: the limits, each as a type.

With a space as the context of its validation a limit is of the numbers and the stages of that space alone.
"""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from diffusion.neighbourhood import distances
from diffusion.space import SearchSpace
from diffusion.spec import PARAMETERS, Rows, SpecField, UNetSpec
from diffusion.units import format_size
from tools.gates.facts import ROUNDING, Facts, Mask, column, inside, region, stages_of_region

NEAR = 2.0  # doublings or changed attentions: a few steps of the space
UNITS = {
    "params": "params",
    "memory_bytes": "bytes of memory in training",
    "macs_total": "MACs (total)",
    "macs_paper": "MACs (paper)",
}


def _known(parameter: str, info: ValidationInfo) -> str:
    space: SearchSpace | None = info.context
    known = tuple(space.choices) if space else PARAMETERS
    if parameter not in known:
        raise ValueError(f"'{parameter}' is not one of the numbers {', '.join(known)}")
    return parameter


def _readable(pattern: str, info: ValidationInfo) -> str:
    _fits(stages_of_region(region(pattern)), info.context)
    return pattern.strip()


def _of_the_space(spec: UNetSpec, info: ValidationInfo) -> UNetSpec:
    _fits(spec.stages, info.context)
    return spec


def _fits(stages: int, space: SearchSpace | None) -> None:
    if space and stages != space.stages:
        any_spec = f"b*-n*-m{'.'.join('*' * space.stages)}-a{'*' * space.stages}"
        raise ValueError(f"it has {stages} stages, and a spec of this search has {space.stages}, as {any_spec}")


Parameter = Annotated[str, AfterValidator(_known)]
SpecOfTheSpace = Annotated[SpecField, AfterValidator(_of_the_space)]
Value = Annotated[int, Field(ge=0, le=1024)]


def _kind_is_required(schema: dict[str, Any]) -> None:
    """Say in the schema that a model reads what holds of every directive: its kind tells which it is."""
    schema["properties"]["kind"].pop("default", None)
    schema["required"] = ["kind", *schema.get("required", ())]


class DirectiveKind(BaseModel):
    """One directive."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_kind_is_required)
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
    """A limit that looks at the numbers of a spec alone, as they are written."""

    def keeps(self, parameter: str, value: int) -> bool:
        """Whether a spec that it leaves can have this value: what a huge space is narrowed to before it is sampled."""
        return True

    def leaves(self, rows: Rows) -> Mask:
        """Which rows it leaves."""
        raise NotImplementedError

    def mask(self, rows: Rows, facts: Facts) -> Mask:
        return self.leaves(rows)


class Freeze(Shape):
    """One of the numbers stays as it is said."""

    kind: Literal["freeze"] = "freeze"
    parameter: Parameter
    value: Value

    def say(self) -> str:
        return f"{self.parameter} stays {self.value}"

    def keeps(self, parameter: str, value: int) -> bool:
        return parameter != self.parameter or value == self.value

    def leaves(self, rows: Rows) -> Mask:
        return np.asarray(column(rows, self.parameter) == self.value)


class Restrict(Shape):
    """One of the numbers takes these values alone."""

    kind: Literal["restrict"] = "restrict"
    parameter: Parameter
    values: Annotated[tuple[Value, ...], Field(min_length=1)]

    def say(self) -> str:
        return f"{self.parameter} is one of {', '.join(map(str, self.values))}"

    def keeps(self, parameter: str, value: int) -> bool:
        return parameter != self.parameter or value in self.values

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
        return np.asarray(self.counted(rows, facts) <= self.at_most)

    def counted(self, rows: Rows, facts: Facts) -> NDArray[np.int64]:
        """What it looks at, of each row; a latency is measured instead.  (N,)"""
        found: NDArray[np.int64] = (
            facts.memory_bytes(rows) if self.what == "memory_bytes" else getattr(facts.costs(rows), self.what)
        )
        return found


class Ban(Shape):
    """A spec in any spelling, or all specs of a region, are left out."""

    kind: Literal["ban"] = "ban"
    pattern: Annotated[str, AfterValidator(_readable)]

    def say(self) -> str:
        return f"never {self.pattern}"

    def leaves(self, rows: Rows) -> Mask:
        return ~inside(region(self.pattern), rows)


class Near(Shape):
    """Only specs within a distance of this one: a doubling of a number, or a changed attention, counts one."""

    kind: Literal["near"] = "near"
    spec: SpecOfTheSpace
    distance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = NEAR

    def say(self) -> str:
        return f"within {self.distance:g} of {self.spec}"

    def keeps(self, parameter: str, value: int) -> bool:
        moved = np.array([[*(self.spec.numbers | {parameter: value}).values()]], dtype=np.int64)
        return bool(self.leaves(moved)[0])

    def leaves(self, rows: Rows) -> Mask:
        return np.asarray(distances(rows, self.spec) <= self.distance + ROUNDING)


def shapes_leave(space: SearchSpace, directives: Iterable[DirectiveKind]) -> Rows:
    """The specs, in every spelling, that directives leave by their numbers alone; of a huge space a sample of them."""
    shapes = [each for each in directives if isinstance(each, Shape)]
    rows = (space if space.is_enumerable else narrowed_space(space, shapes)).rows()
    for shape in shapes:
        rows = rows[shape.leaves(rows)]
    return rows


def narrowed_space(space: SearchSpace, directives: Iterable[DirectiveKind]) -> SearchSpace:
    """The space of those choices that every limit keeps; as it was where one of the numbers would have none left."""
    shapes = [each for each in directives if isinstance(each, Shape)]
    choices = {
        name: [value for value in values if all(shape.keeps(name, value) for shape in shapes)]
        for name, values in space.choices.items()
    }
    return SearchSpace.from_choices(space.name, choices) if all(choices.values()) else space
