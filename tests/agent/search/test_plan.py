"""What a search is planned with, before anything is computed."""

import pytest

from agent.search.plan import check_side
from diffusion.errors import UserError


@pytest.mark.parametrize(("stages", "side", "next_side"), [(4, 12, 16), (5, 24, 32), (6, 8, 32), (3, 6, 8)])
def test_images_that_cannot_be_halved_often_enough_are_refused_with_a_side_that_can(
    stages: int, side: int, next_side: int
) -> None:
    check_side("--space mine", stages, next_side)
    with pytest.raises(UserError) as mistake:
        check_side("--space mine", stages, side)
    assert str(mistake.value) == (
        f"--space mine: its {stages} stages halve the images {stages - 1} times, so their side must be divisible by "
        f"{2 ** (stages - 1)}, and it is {side}; resize them with --resolution {next_side}, or take fewer stages"
    )
