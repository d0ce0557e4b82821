import math
import statistics
from itertools import pairwise

import pytest

from diffusion.training.curve import MOST_POINTS, LossCurve, point_spacing


def loss_at(step: int) -> float:
    return 0.1 + 1 / step


def logged(train_steps: int, log_steps: int) -> LossCurve:
    curve = LossCurve()
    for step in (*range(log_steps, train_steps, log_steps), train_steps):
        curve.add(step, loss_at(step), train_steps=train_steps, log_steps=log_steps)
    return curve


@pytest.mark.parametrize("train_steps", [1, 19, 20, 600, 3980, 3981, 4000, 4001, 100_000, 800_000, 799_999])
def test_a_curve_has_at_most_200_points_ends_with_the_training_and_has_no_gap(train_steps: int) -> None:
    curve = logged(train_steps, 20)
    steps = [step for step, _ in curve.points]
    assert len(steps) <= MOST_POINTS == 200
    assert steps[-1] == train_steps and steps == sorted(set(steps))
    spacing = point_spacing(train_steps, 20)
    assert {later - earlier for earlier, later in pairwise(steps[:-1])} <= {spacing}
    assert len(steps) >= min(100, train_steps // 20)  # and not thinned more than it must be


def test_a_point_is_the_mean_of_what_was_logged_since_the_one_before() -> None:
    curve = logged(10_000, 20)
    assert point_spacing(10_000, 20) == 60
    step, loss = curve.points[1]
    assert (step, loss) == (120, pytest.approx(statistics.fmean(map(loss_at, (80, 100, 120))), rel=1e-15))


@pytest.mark.parametrize("stopped", [20, 50, 61, 100, 119, 120, 9_990])
def test_one_that_was_kept_and_goes_on_is_that_of_a_straight_training_to_the_last_bit(stopped: int) -> None:
    curve = LossCurve()
    for step in range(1, 10_001):
        if step % 20 == 0 or step == stopped:
            curve.add(step, loss_at(step), train_steps=10_000, log_steps=20)
        if step == stopped:
            curve = LossCurve.from_text(curve.as_text())
    assert curve == logged(10_000, 20)


def test_the_smoothed_loss_begins_with_the_first_and_follows_slowly() -> None:
    curve = LossCurve()
    assert curve.smoothed is None and LossCurve.from_text(curve.as_text()) == curve
    curve.add(1, 1.0, train_steps=10, log_steps=1)
    curve.add(2, 0.0, train_steps=10, log_steps=1)
    assert curve.smoothed is not None and math.isclose(curve.smoothed, 0.9)
