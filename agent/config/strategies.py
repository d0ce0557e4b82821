"""Training strategies by name or as they are typed: ``paper-rapid``, or ``learning_rate=2e-3,dropout=0``.

The named sets are data, in ``strategies.toml``. No torch is imported.
"""

import difflib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diffusion.errors import UserError
from diffusion.files.text import read_toml
from diffusion.settings import Strategy

FIELDS = tuple(Strategy.model_fields)


@cache
def strategy_presets() -> dict[str, dict[str, Any]]:
    """The named sets of strategy fields; a set may leave fields out."""
    return read_toml(Path(__file__).parent / "strategies.toml")


def default_strategy(dataset: str, role: str) -> str:
    """The preset of a data set for a role, ``standard`` or ``rapid``."""
    return f"digits-{role}" if dataset == "digits" else f"paper-{role}"


def parse_strategy(text: str, base: Strategy, option: str) -> Strategy:
    """The strategy of a preset's name, of ``FIELD=VALUE,…``, or of a name with changes behind it.

    Args:
        text: as it was typed.
        base: what fields have that neither the text nor its preset names.
        option: what it was typed for, such as ``--rapid``.

    Raises:
        UserError: no such preset or field, or a value outside its bounds, which are in the sentence.
    """
    values: dict[str, Any] = {}
    for index, part in enumerate(part.strip() for part in text.split(",")):
        name, sign, value = part.partition("=")
        if sign:
            values[_field(name.strip(), option)] = value.strip()
        elif index == 0:
            values |= _preset(part, option)
        else:
            raise UserError(f"{option} '{part}' lacks a value; write {option} learning_rate=1e-3,dropout=0")
    return checked_strategy(base.model_dump() | values, option)


def checked_strategy(values: dict[str, Any], option: str) -> Strategy:
    """The strategy of these fields.

    Raises:
        UserError: a value is outside its bounds, which are in the sentence.
    """
    try:
        return Strategy.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        message = f"{first['msg'][0].lower()}{first['msg'][1:]}"
        raise UserError(f"{option} {name}={values.get(name, '')}: {message}") from None


def _preset(name: str, option: str) -> dict[str, Any]:
    presets = strategy_presets()
    if name not in presets:
        there = ", ".join(presets)
        raise UserError(f"{option} '{name}' is no strategy; there are {there}, or write learning_rate=1e-3,dropout=0")
    return presets[name]


def _field(name: str, option: str) -> str:
    if name in FIELDS:
        return name
    close = difflib.get_close_matches(name, FIELDS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(FIELDS)}"
    raise UserError(f"{option} '{name}' is no part of a strategy; {hint}")
