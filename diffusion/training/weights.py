"""Weights read from a file without trust, and which file it is."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from diffusion.errors import UserError


def load_weights(path: Path, network: nn.Module, *, whose: str, again: str) -> dict[str, Tensor]:
    """The weights in a safetensors file, once its header alone has shown that they are those of a network.

    Args:
        path: the file.
        network: the structure that they are for, which may lie on the meta device.
        whose: what is said of weights for another one, such as "of another network".
        again: the remedy.

    Raises:
        UserError: the file is missing or damaged, or holds other weights, or some that are not finite.
    """
    expected = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    try:
        with safe_open(path, framework="pt") as file:
            pieces = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
            found = {name: piece.get_shape() for name, piece in pieces.items()}
            types = {piece.get_dtype() for piece in pieces.values()}
    except FileNotFoundError:
        raise UserError(f"'{path}' is missing; {again}") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"'{path}' is cut or damaged ({error}); {again}") from None
    if found != expected or types != {"F32"}:
        raise UserError(f"'{path}' holds weights {whose}; {again}")
    weights = load_file(path)
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise UserError(f"'{path}' holds weights that are not finite; {again}")
    return weights
