"""What a path means that a person typed, wherever it was typed: a shell expands ``~`` only at the start of a word.

``--out=~/runs``, ``out = "~/runs"`` in a settings file and ``DIFFNAS_OUT`` from a service's file reach us as they are.
"""

import os.path
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from diffusion.errors import check_utf8


def user_path(text: str) -> Path:
    """The path that a person means: ``~`` and ``~name`` are homes, and a name that nobody has stays, as in a shell.

    Raises:
        UserError: its bytes are no text.
    """
    path = os.path.expanduser(text)  # pathlib's drops the ./ before a folder named ~, and raises
    check_utf8(path)
    return Path(path)


def _as_typed(value: object) -> object:
    """Text as the path it means; a path is one already, and is not read a second time."""
    return user_path(value) if isinstance(value, str) else value


UserPath = Annotated[Path, BeforeValidator(_as_typed)]
"""A path of a setting."""
