"""What a student is and how it is retrained, as values that a job holds; no torch is imported here."""

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from diffusion.distill.units import Choice
from diffusion.frozen import Frozen

Ramp = Literal["early", "linear", "cosine", "constant"]
EARLY = 4  # a ramp is over after the fourth part of a training
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class JointLoss(Frozen):
    """How the parts of the loss are weighed (`diffusion.distill.losses`)."""

    ramp: Ramp = "early"
    """how β goes from its first value to its last: evenly, in the first quarter (`early`), or slowly at both ends
    (`cosine`); `constant` stays at the last"""
    first: Share = 0.0
    """β at the first step"""
    last: Share = 1.0
    """β at the last step"""
    output: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """weight of the error of the whole network's output"""

    def beta(self, step: int, steps: int) -> float:
        """β at a step, the first being 0."""
        done = step / max(steps - 1, 1)
        slow = (1 - math.cos(math.pi * done)) / 2
        part = {"early": min(EARLY * done, 1.0), "linear": done, "cosine": slow, "constant": 1.0}[self.ramp]
        return self.first + (self.last - self.first) * part

    def is_noise_alone(self, step: int, steps: int) -> bool:
        """Whether the teacher has nothing to say at a step."""
        return self.output == 0 and self.beta(step, steps) == 1

    def taught_share(self, steps: int) -> float:
        """The part of a training in which the teacher computes, too."""
        return sum(not self.is_noise_alone(step, steps) for step in range(steps)) / max(steps, 1)

    @property
    def needs_teacher(self) -> bool:
        """Whether anything but the noise counts at any step."""
        begins = self.last if self.ramp == "constant" else self.first
        return self.output > 0 or min(begins, self.last) < 1


NOISE_ALONE = JointLoss(ramp="constant")


class Student(Frozen):
    """A network made out of a teacher's, what its weights begin as, and what it learns from.

    Folders are where things lie; which things they are stands in the digests beside them.
    """

    teacher: Path
    """folder of the teacher, as `diffusion.distill.teacher.load_teacher` reads it"""
    teacher_sha256: Sha256
    """digest of the teacher's structure and weights"""
    choices: dict[str, Choice]
    """what is left of each unit, by name"""
    start: Path | None = None
    """weights of the teacher's shape that the student's are taken out of; None begins at random"""
    start_sha256: Sha256 | None = None
    """digest of them"""
    loss: JointLoss = JointLoss()
    retrained: bool = True
    """whether it is trained at all, or its teacher as it came"""

    @property
    def identity(self) -> dict[str, object]:
        """All that decides what becomes of it, for the key of its training."""
        return self.model_dump(mode="json", exclude={"teacher", "start"})
