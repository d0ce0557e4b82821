"""Begins a search from the page, as `run` would be typed: settings by name, a process of its own, never a shell.

Its name is what makes it begin once: a page that asks again, because it heard nothing, asks for a name that is taken.
"""

import threading
from collections.abc import Mapping
from pathlib import Path

from agent.chat.spawn import start
from agent.config.settings import FIELDS, is_own
from diffusion.errors import UserError
from memory.searches import check_name

NOT_HERE = ("approve",)  # asks on a terminal before each training
LONGEST_VALUE = 1_000  # characters

_one_at_a_time = threading.Lock()
_begun: dict[str, str] = {}  # sentences by key


def arguments(settings: Mapping[str, object], out: Path | None) -> list[str]:
    """The words of the command.

    Raises:
        UserError: something is no setting of `run`, or the name is missing.
    """
    check_name(str(settings.get("name") or ""))
    words = ["run"] if out is None else ["run", f"--out={out}"]
    for name, value in settings.items():
        if name in NOT_HERE:
            raise UserError(f"'{name}' asks on a terminal; begin such a search there")
        if name not in FIELDS or name in ("db", "out"):
            raise UserError(f"'{name}' is not a setting of a search; `diffnas-agent run --help` lists them")
        text = str(value).strip()
        if len(text) > LONGEST_VALUE or not text.isprintable():
            raise UserError(f"'{name}': its value is no line of text of at most {LONGEST_VALUE} characters")
        if name == "searcher" and is_own(text):
            raise UserError(f"'{text}' is Python of yours, which is run; it is named on the command line alone")
        words += ["--set", f"{name}={text}"] if text else []
    return words


def begin(settings: Mapping[str, object], db: Path, out: Path | None, key: str) -> str:
    """Begin a search once for a key, and wait until it is driven; what became of it.

    Raises:
        UserError: as `run` refuses what it was told.
    """
    words = arguments(settings, out)
    with _one_at_a_time:
        if key not in _begun:
            started = start(words, db)
            if started.search is None:
                raise UserError(started.sentence())
            _begun[key] = f"{started.search} has begun in a process of its own; its lines: {started.log}"
        return _begun[key]
