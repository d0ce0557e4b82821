"""How people are shown things, before any command."""

from contextlib import suppress
from typing import Annotated, Any

from agent.cli.options import option_of
from agent.report.console import be_plain

Plain = Annotated[bool | None, option_of("plain")]


def show_as_set(typed: bool | None) -> None:
    """Show things as was typed, or else as the settings say; what is wrong with these is the command's to say."""
    from agent.config.screen import ScreenSettings
    from agent.config.sources import last_said, outside
    from diffusion.errors import UserError

    said: tuple[Any, str] | None = None if typed is None else (typed, "option")
    with suppress(UserError, ValueError):
        said = said or last_said("plain", outside())
        be_plain(ScreenSettings(plain=said[0] if said else False).plain)
