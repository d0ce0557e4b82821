"""The one reader of text that people write: settings, prices, spaces, ``.env``.

Editors and shells of some systems begin a file with a byte order mark, or write UTF-16; both are read as meant.
"""

import codecs
import tomllib
from pathlib import Path
from typing import Any

from diffusion.errors import UserError

MARKS = (  # UTF-32's begins as UTF-16's does, and so stands before it
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)


def read_text(path: Path, instead: str = "allow it, or name another file") -> str:
    """The text of a file in UTF-8, or in what its byte order mark says.

    Args:
        path: the file.
        instead: what would be right where it cannot be read.

    Raises:
        UserError: it cannot be read, or is no such text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}); {instead}") from None
    encoding = next((encoding for mark, encoding in MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        said = f"{error.reason} at byte {error.start}"
        raise UserError(f"'{path}' is no text in {encoding[:6].upper()} ({said}); save it in UTF-8") from None
    if "\0" in text:
        raise UserError(f"'{path}' holds zero bytes, as UTF-16 without a byte order mark does; save it in UTF-8")
    return text


def read_toml(path: Path, instead: str = "allow it, or name another file") -> dict[str, Any]:
    """What a TOML file says.

    Raises:
        UserError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(read_text(path, instead))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"'{path}' is not TOML: {error}") from None
