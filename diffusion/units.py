"""Sizes as people write them (``6.06G``, ``20M``, ``20000000``) and read them, and foreign text as it may be shown."""

import re
import unicodedata
from decimal import Decimal

from diffusion.errors import UserError

FACTORS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
SHOWN_CHARACTERS = 100
LARGEST = 2**63 - 1  # what a database column holds
SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([KMGT]?)\s*", re.IGNORECASE)
JOINERS = "\u200c\u200d"  # within words of Persian and within emoji; they move nothing


def parse_size(text: str | int | float, what: str = "MACs") -> int:
    """The whole number that ``6.06G``, ``20M`` or ``20000000`` stands for.

    Raises:
        UserError: the text is not a positive number with at most one of the suffixes K, M, G, T.
    """
    match = SIZE.fullmatch(str(text))
    if match and 0 < (value := round(Decimal(match[1]) * FACTORS[match[2].upper()])) <= LARGEST:
        return value
    raise UserError(f"'{shortened(str(text))}' is not a number of {what}; write 6.06G, 20M or 20000000")


def whole_number(text: str) -> int | None:
    """The number that digits stand for; None for any other text, and for more than a database column holds."""
    digits = text.lstrip("0") or text[:1]
    if not (text.isascii() and text.isdigit()) or len(digits) > len(str(LARGEST)):
        return None
    return number if (number := int(digits)) <= LARGEST else None


def shortened(text: str) -> str:
    """A text as a sentence shows it: whole, or its beginning."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def parse_list(value: object) -> object:
    """``250,500`` or ``a,b`` as a tuple of its parts; anything but text is left to pydantic."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def format_size(number: float) -> str:
    """Four significant digits and a suffix: 6053953536 → ``6.054G``."""
    for suffix in ("T", "G", "M", "K"):
        if abs(number) >= FACTORS[suffix]:
            return f"{number / FACTORS[suffix]:.4g}{suffix}"
    return f"{number:.4g}"


def printable(text: str) -> str:
    """Foreign text on one line: what acts on a terminal or a reader instead of being read is spelled out.

    That is every control character, so also each line break, and the escape that begins a colour, a cursor's move or a
    copy to the clipboard; marks that turn the direction of reading; halves of surrogate pairs, as bytes that are no
    letter become.
    """
    if text.isprintable():
        return text
    return "".join(char if _is_shown(char) else char.encode("unicode_escape").decode("ascii") for char in text)


def counted(number: int, noun: str) -> str:
    """``1 image``, ``2,000 images``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def visible(text: str) -> str:
    """The same with its line breaks and tabs."""
    if text.isprintable():
        return text
    return "".join(
        part if part in ("\n", "\t") else printable(part) for part in re.split(r"([\n\t])", text.replace("\r\n", "\n"))
    )


def _is_shown(char: str) -> bool:
    return char.isprintable() or char in JOINERS or unicodedata.category(char) == "Zs"  # spaces of whatever width
