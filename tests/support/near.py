"""What is one step away from a spec, as specs."""

from diffusion.neighbourhood import neighbours
from diffusion.space import SearchSpace
from diffusion.spec import UNetSpec


def near(space: SearchSpace, spec: UNetSpec) -> list[UNetSpec]:
    """The members one step away."""
    return [UNetSpec.from_row(row) for row in neighbours(space, spec)]
