"""What happens before any command: imports that are spared, and how people are shown things."""

import sys
from contextlib import suppress
from typing import Annotated, Any

from agent.cli.options import option_of
from agent.report.console import be_plain

SPARED = ("pandas", "numpy")  # sqlite-utils takes them along where it finds them: 0.4 s for types never stored here

Plain = Annotated[bool | None, option_of("plain")]


def spare_imports() -> None:
    """Import sqlite-utils without the packages that it could do without."""
    if "sqlite_utils" in sys.modules:
        return
    spared = [name for name in SPARED if name not in sys.modules]
    for name in spared:
        sys.modules[name] = None  # type: ignore[assignment]  # so that importing it fails, here alone
    import sqlite_utils  # noqa: F401

    for name in spared:
        del sys.modules[name]


def show_as_set(typed: bool | None) -> None:
    """Show things as was typed, or else as the settings say; what is wrong with these is the command's to say."""
    from agent.config.screen import ScreenSettings
    from agent.config.sources import last_said, outside
    from diffusion.errors import UserError

    said: tuple[Any, str] | None = None if typed is None else (typed, "option")
    with suppress(UserError, ValueError):
        said = said or last_said("plain", outside())
        be_plain(ScreenSettings(plain=said[0] if said else False).plain)
