"""Latents as a data set: what somebody's autoencoder made of images, trained on as it is.

An .npz with ``latents`` (and ``latents_test``): N×C×R×R, float16 or float32, C from 1 to 4, scaled as the network is to
see them, which is to a deviation of about one (a pipeline's ``scaling_factor`` does that). They are neither resized nor
padded, nor are they pixels anywhere: no sampler clips them, and their scores compare latents with latents.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion.data.card import LARGEST_SIDE, SIDE_MULTIPLE
from diffusion.data.pictures import SMALLEST_SIDE, Source
from diffusion.errors import UserError

LATENTS, LATENTS_TEST = "latents", "latents_test"  # the arrays of the file
MOST_CHANNELS = 4
USUAL_DEVIATION = (0.5, 2.0)


def latents_source(typed: str, arrays: Mapping[str, NDArray[Any]]) -> Source:
    """The latents of a file as a data set.

    Raises:
        UserError: they are no finite floats N×C×R×R that a network here takes.
    """
    train = _checked(typed, LATENTS, arrays[LATENTS])
    test = _checked(typed, LATENTS_TEST, arrays[LATENTS_TEST]) if LATENTS_TEST in arrays else None
    if test is not None and train.shape[1:] != test.shape[1:]:
        raise UserError(
            f"'{typed}' holds {LATENTS} {train.shape} and {LATENTS_TEST} {test.shape}; they must have one shape"
        )
    return Source(train, test, _notes(train), values="latents")


def _checked(typed: str, name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    holds = f"'{typed}' holds {name} of"
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise UserError(f"{holds} type {array.dtype}; latents must be float16 or float32")
    if array.ndim != 4 or array.shape[2] != array.shape[3] or not 1 <= array.shape[1] <= MOST_CHANNELS:
        raise UserError(f"{holds} shape {array.shape}; it must be N×C×R×R, C from 1 to {MOST_CHANNELS}")
    side = array.shape[2]
    if side % SIDE_MULTIPLE or not SMALLEST_SIDE <= side <= LARGEST_SIDE:
        raise UserError(f"{holds} {side}×{side}; the side must be a multiple of {SIDE_MULTIPLE} up to {LARGEST_SIDE}")
    found = array.astype(np.float32)
    if not np.isfinite(found).all():
        raise UserError(f"{holds} values that are not finite; encode the images again")
    return found


def _notes(latents: NDArray[np.float32]) -> tuple[str, ...]:
    """That they are not scaled, where they seem not to be."""
    deviation, (least, most) = float(latents.std(dtype=np.float64)), USUAL_DEVIATION
    if len(latents) == 0 or least <= deviation <= most:
        return ()
    return (f"a deviation of {deviation:.3g}; networks learn best from latents scaled to about one",)
