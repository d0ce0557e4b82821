"""The knapsack over blocks against trying everything."""

import itertools

import numpy as np
import pytest

from diffusion.distill.allocation import Allocation, Candidates, Whole, allocate, pareto, smallest_target
from diffusion.errors import UserError


def blocks_of(seed: int, count: int = 4, each: int = 5) -> tuple[list[Candidates], Whole]:
    """Blocks whose candidates cost and lose at random, in numbers as large as those of real networks."""
    rng = np.random.default_rng(seed)
    blocks = [
        Candidates(
            rng.integers(0, 10**9, each).tolist(), rng.integers(0, 10**7, each).tolist(), rng.random(each).tolist()
        )
        for _ in range(count)
    ]
    common_macs, common_params = int(rng.integers(10**8)), int(rng.integers(10**6))
    most = [sum(max(getattr(block, name)) for block in blocks) for name in ("macs", "params")]
    return blocks, Whole(most[0] + common_macs, most[1] + common_params, common_macs, common_params)


def everything(blocks: list[Candidates], whole: Whole) -> list[Allocation]:
    """Every student, at its true cost."""
    found = []
    for chosen in itertools.product(*(range(len(block.macs)) for block in blocks)):
        pairs = list(zip(blocks, chosen, strict=True))
        macs = whole.common_macs + sum(block.macs[place] for block, place in pairs)
        params = whole.common_params + sum(block.params[place] for block, place in pairs)
        found.append(Allocation(chosen, macs, params, sum(block.losses[place] for block, place in pairs)))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_best_of_all_students_within_the_target(seed: int) -> None:
    blocks, whole = blocks_of(seed)
    students = everything(blocks, whole)
    for target in (0.35, 0.5, 0.7, 1.0):
        fit = [each for each in students if each.macs <= target * whole.macs and each.params <= target * whole.params]
        if not fit:
            with pytest.raises(UserError, match=f"^'--target {target:g}' is out of reach: the smallest student has 0"):
                allocate(blocks, whole, target)
            continue
        best = min(fit, key=lambda each: each.loss)
        found = allocate(blocks, whole, target)
        assert found.chosen == best.chosen and found.loss == pytest.approx(best.loss)
        assert (found.macs, found.params) == (best.macs, best.params)


@pytest.mark.parametrize("seed", range(6))
def test_the_smallest_target_is_that_of_the_smallest_student(seed: int) -> None:
    blocks, whole = blocks_of(seed)
    parts = [max(each.macs / whole.macs, each.params / whole.params) for each in everything(blocks, whole)]
    assert smallest_target(blocks, whole) == pytest.approx(min(parts), abs=1e-6)


def test_a_student_that_meets_the_target_to_the_last_operation_is_taken() -> None:
    blocks = [Candidates([10**9, 10**9 + 1], [1, 1], [1.0, 0.0])]
    whole = Whole(2 * 10**9, 2, 0, 0)
    assert allocate(blocks, whole, 0.5).chosen == (0,)
    assert allocate(blocks, whole, 0.5 + 1e-9).chosen == (1,)


def test_the_more_may_stay_the_less_is_lost() -> None:
    blocks, whole = blocks_of(3, count=8, each=20)
    curve = pareto(blocks, whole, points=9)
    losses = [each.loss for _, each in curve]
    assert losses == sorted(losses, reverse=True) and len(curve) == 9
    assert losses[-1] == pytest.approx(sum(min(block.losses) for block in blocks))
    assert all(each.macs <= target * whole.macs + 1 for target, each in curve)


def test_candidates_without_a_finite_loss_are_a_bug() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        Candidates([1], [1], [float("nan")])
    with pytest.raises(ValueError, match="each candidate of a block"):
        Candidates([1, 2], [1], [0.0])
