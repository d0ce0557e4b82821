"""What a student is retrained on: what its teacher's blocks do at first, the noise itself in the end.

    L = (1 - β) Σ_blocks error + β L_noise + w error of the output

The error of a block is that of `watching.relative_error`, on the student's own inputs; L_noise is what the family is
trained on (`diffusion.losses.training_loss`). β rises over the training by a named schedule: blocks show the way while
the student is far from its teacher, and stop holding it back when it is near. The published method names a dynamic loss
(Tang et al., arXiv 2311.04950); its form is ours.
"""

import math
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from diffusion.distill.watching import relative_error, watching
from diffusion.frozen import Frozen
from diffusion.losses import training_loss
from diffusion.process import NoiseProcess
from diffusion.settings import Family

if TYPE_CHECKING:
    from diffusers import UNet2DModel

Ramp = Literal["linear", "cosine", "constant"]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class JointLoss(Frozen):
    """How the parts of the loss are weighed."""

    ramp: Ramp = "linear"
    """how β goes from its first value to its last; `constant` stays at the last"""
    first: Share = 0.0
    """β at the first step"""
    last: Share = 1.0
    """β at the last step"""
    output: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """weight of the error of the whole network's output"""

    def beta(self, step: int, steps: int) -> float:
        """β at a step, the first being 0."""
        done = step / max(steps - 1, 1)
        part = {"linear": done, "cosine": (1 - math.cos(math.pi * done)) / 2, "constant": 1.0}[self.ramp]
        return self.first + (self.last - self.first) * part


class Drawn(NamedTuple):
    """Images in [-1, 1], the noise that is added to them and the steps at which."""

    images: Tensor  # (N,C,H,W)
    noise: Tensor  # (N,C,H,W)
    steps: Tensor  # (N,)


class Parts(NamedTuple):
    """The loss and its parts, as they are before they are weighed.  Each ()"""

    loss: Tensor
    blocks: Tensor
    noise: Tensor
    output: Tensor


def joint_loss(
    process: NoiseProcess,
    family: Family,
    teacher: "UNet2DModel",
    student: "UNet2DModel",
    drawn: Drawn,
    weights: JointLoss,
    beta: float,
) -> Parts:
    """The loss of a student at some β; no gradient reaches the teacher."""
    noisy = process.diffuse(drawn.images, drawn.noise, drawn.steps.cpu())
    with torch.no_grad(), watching(teacher) as wanted:
        target: Tensor = teacher(noisy, drawn.steps).sample
    predicted: list[Tensor] = []
    handle = student.register_forward_hook(lambda module, given, output: predicted.append(output.sample))
    try:
        with watching(student) as found:
            noise_loss = training_loss(process, family, student, drawn.images, drawn.noise, drawn.steps)
    finally:
        handle.remove()
    blocks = torch.stack([relative_error(found[name].outputs, seen.outputs) for name, seen in wanted.items()]).sum()
    output = relative_error(predicted[-1:], [target])
    return Parts((1 - beta) * blocks + beta * noise_loss + weights.output * output, blocks, noise_loss, output)
