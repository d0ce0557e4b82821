"""A space as a grid: each number of a spec as its place among its choices. Classical optimisers move there."""

from dataclasses import dataclass

from diffusion.networks import spellings
from diffusion.settings import Family
from diffusion.space import SearchSpace
from diffusion.spec import UNetSpec

Place = tuple[int, ...]  # of each number, in the order of a row


@dataclass(frozen=True)
class Grid:
    """The places of a space."""

    space: SearchSpace
    family: Family

    @property
    def sizes(self) -> dict[str, int]:
        """How many choices each number has."""
        return {name: len(values) for name, values in self.space.choices.items()}

    def place(self, spec: UNetSpec) -> Place | None:
        """Where a spec lies, in another spelling of its network if the space has it only there; None outside."""
        for each in (spec, *spellings(spec, self.family)):
            if self.space.why_not(each) is None:
                choices = self.space.choices.values()
                return tuple(values.index(number) for values, number in zip(choices, each.row, strict=True))
        return None

    def spec(self, place: Place) -> UNetSpec:
        """The spec at a place."""
        return UNetSpec.from_row(
            [values[index] for values, index in zip(self.space.choices.values(), place, strict=True)]
        )
