"""What goes into the blocks of a teacher and what comes out: the data that students of a block learn from.

Blocks see what the teacher's own blocks hand on, never each other's students, so that they can be trained and judged
one by one. Errors are relative: the mean squared error over the variance of what the teacher's block gives.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from diffusion.distill.units import blocks_of
from diffusion.process import NoiseProcess

if TYPE_CHECKING:
    from diffusers import UNet2DModel

LEAST_VARIANCE = 1e-12  # of an output that hardly varies


class Seen(NamedTuple):
    """One call of a block: what went in, as it was given, and what came out."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[Tensor, ...]  # of a down block what it hands to both sides, of others their one output


class Batch(NamedTuple):
    """Noised images and their steps."""

    noisy: Tensor  # (N,C,H,W)
    steps: Tensor  # (N,)


def noised(process: NoiseProcess, images: Tensor, generator: torch.Generator) -> Batch:
    """Images at steps drawn uniformly from all.  (N,C,H,W) in [-1, 1]"""
    steps = torch.randint(process.diffusion_steps, (len(images),), generator=generator)
    noise = torch.randn(images.shape, generator=generator).to(images)
    return Batch(process.diffuse(images, noise, steps), steps.to(images.device))


@torch.no_grad()
def watched(teacher: "UNet2DModel", batch: Batch) -> tuple[dict[str, Seen], Tensor]:
    """What each block of a teacher is given and gives for a batch, by name; and what the teacher predicts."""
    with watching(teacher) as seen:
        predicted: Tensor = teacher(batch.noisy, batch.steps).sample
    return seen, predicted


@contextmanager
def watching(network: "UNet2DModel") -> Iterator[dict[str, Seen]]:
    """What each block is given and gives, by name, in the last forward pass within the context; gradients stay."""
    seen: dict[str, Seen] = {}

    def hook(name: str) -> Any:
        def see(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            seen[name] = Seen(args, kwargs, outputs_of(output))

        return see

    handles = [block.register_forward_hook(hook(name), with_kwargs=True) for name, block in blocks_of(network)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def outputs_of(output: Any) -> tuple[Tensor, ...]:
    """The different tensors that a block gives: a down block's output is the last of those for the other side."""
    if isinstance(output, Tensor):
        return (output,)
    _, handed = output
    return tuple(handed)


def relative_error(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean squared error over variance, averaged over the outputs of a block; 0 is the teacher, 1 its mean.  → ()"""
    errors = [
        (one - other).square().mean() / other.var(correction=0).clamp_min(LEAST_VARIANCE)
        for one, other in zip(found, wanted, strict=True)
    ]
    return torch.stack(errors).mean()
