"""The loss of a training as it is told: smoothed for who watches, and thinned to a curve.

Both are functions of the losses at the steps that are logged, and those of the seed and the step, so a training that
goes on from a checkpoint, where its curve is kept, has the curve of one that was never stopped.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Self

from diffusion.training.child import Lines

MOST_POINTS = 200
"""Of a curve."""

SMOOTHING = 0.9  # the loss that is shown is an average over about ten logged values


@dataclass
class LossCurve:
    """The curve so far, and what the next values of it need."""

    smoothed: float | None = None
    points: list[tuple[int, float]] = field(default_factory=list)  # step, mean of what was logged since the last
    waiting: list[float] = field(default_factory=list)  # logged since the last point

    def add(self, step: int, loss: float, *, train_steps: int, log_steps: int) -> tuple[int, float] | None:
        """Take the loss of a step; the point that it completes, if it does.

        Args:
            step: steps done; one between those of the log, where a job leaves the rest to a later one, counts not.
            loss: of this step.
            train_steps: of the whole training.
            log_steps: steps from one logged value to the next.
        """
        is_last = step == train_steps
        if step % log_steps and not is_last:
            return None
        self.smoothed = loss if self.smoothed is None else SMOOTHING * self.smoothed + (1 - SMOOTHING) * loss
        self.waiting.append(loss)
        if step % point_spacing(train_steps, log_steps) and not is_last:
            return None
        point = (step, math.fsum(self.waiting) / len(self.waiting))
        self.waiting.clear()
        self.points.append(point)
        return point

    def as_text(self) -> str:
        """As a checkpoint keeps it, to the last bit."""
        return json.dumps([self.smoothed, self.points, self.waiting])

    @classmethod
    def from_text(cls, text: str) -> Self:
        """What `as_text` made."""
        smoothed, points, waiting = json.loads(text)
        return cls(smoothed, [(step, loss) for step, loss in points], waiting)


def point_spacing(train_steps: int, log_steps: int) -> int:
    """Steps from one point of a curve to the next: those of the log, or as many times more as leave few enough."""
    return log_steps * max(1, math.ceil(train_steps / (log_steps * (MOST_POINTS - 1))))  # one more for the last step


def tell_again(lines: Lines, curve: LossCurve) -> None:
    """Say the curve of a training that goes on, or is over: whoever heard it first may be gone."""
    if curve.points:
        lines.emit("curve", points=curve.points)
