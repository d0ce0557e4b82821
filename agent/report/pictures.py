"""What every picture begins with: matplotlib, which only the development extra brings, drawing into files alone."""

from importlib.util import find_spec
from types import ModuleType

from diffusion.errors import UserError


def check_matplotlib(asked: str, otherwise: str = "") -> None:
    """Whether pictures can be drawn.

    Args:
        asked: what was typed for one.
        otherwise: what can be done without.

    Raises:
        UserError: there is no matplotlib.
    """
    if find_spec("matplotlib") is None:
        raise UserError(f"{asked} needs matplotlib; pip install matplotlib{otherwise}")


def pyplot() -> ModuleType:
    """Matplotlib's pyplot, with no window."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as found

    return found
