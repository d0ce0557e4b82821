"""What a student is retrained on: what its teacher's blocks do at first, the noise itself in the end.

    L = (1 - β) Σ_blocks error + β L_noise + w error of the output

The error of a block is that of `watching.relative_error`, on the student's own inputs; L_noise is what the family is
trained on (`diffusion.training.losses.training_loss`). β rises over the training by a named schedule: blocks show the
way while the student is far from its teacher, and stop holding it back when it is near. The published method names a
dynamic loss (Tang et al., arXiv 2311.04950); its form is ours.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from diffusion.distill.retraining import JointLoss
from diffusion.distill.watching import relative_error, watching
from diffusion.process import NoiseProcess
from diffusion.settings import Family
from diffusion.training.losses import training_loss

if TYPE_CHECKING:
    from diffusers import UNet2DModel


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
    run: Callable[..., Any] | None = None,
) -> Parts:
    """The loss of a student at some β; no gradient reaches the teacher.

    `run` is what calls the student where that is not called itself: one network of several processes, say.
    """
    noisy = process.diffuse(drawn.images, drawn.noise, drawn.steps.cpu())
    with torch.no_grad(), watching(teacher) as wanted:
        target: Tensor = teacher(noisy, drawn.steps.to(noisy.device)).sample
    predicted: list[Tensor] = []
    handle = student.register_forward_hook(lambda module, given, output: predicted.append(output.sample))
    try:
        with watching(student) as found:
            noise_loss = training_loss(process, family, run or student, drawn.images, drawn.noise, drawn.steps)
    finally:
        handle.remove()
    blocks = torch.stack([relative_error(found[name].outputs, seen.outputs) for name, seen in wanted.items()]).sum()
    output = relative_error(predicted[-1:], [target])
    return Parts((1 - beta) * blocks + beta * noise_loss + weights.output * output, blocks, noise_loss, output)
