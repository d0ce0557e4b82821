"""How people are shown things; nothing here changes what is searched or found."""

from typing import Annotated

from diffusion.frozen import Frozen, Setting


class ScreenSettings(Frozen):
    """How people are shown things."""

    plain: Annotated[
        bool,
        Setting(
            "plain lines, for screen readers: no colour, no bars, nothing drawn anew, no columns",
            "--plain/--no-plain",
            more="the option stands before the command: `diffnas-agent --plain status`; a terminal that says "
            "`TERM=dumb` gets plain lines by itself, and `NO_COLOR=1` takes the colour alone",
        ),
    ] = False
