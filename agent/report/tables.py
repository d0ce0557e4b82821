"""Tables for people; the same values as under ``--json``, nothing computed here but how they look."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.report.console import people, put_json
from agent.report.results import plain
from diffusion.data.card import DataCard, card_rows
from diffusion.settings import Protocol
from diffusion.units import visible
from memory.ledger import Ledger


def show(found: Any, as_json: bool, for_people: Callable[[Console, Any], None]) -> None:
    """Print what a reading command found: as JSON, or as `for_people` has it."""
    if as_json:
        put_json(plain(found))
    else:
        for_people(people(), found)


def print_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[object]], right: str = "") -> None:
    """A plain table; `right` names the columns that are aligned to the right, separated by commas."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            Text(visible(column)),
            justify="right" if column in right.split(",") else "left",
            overflow="fold",
            no_wrap=column
            in ("spec", "widths", "name", "state", "round", "score"),  # what is copied and pasted stays whole
        )
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(visible(str(cell))) for cell in row))
    console.print(table)


def print_settings(console: Console, settings: dict[str, Any]) -> None:
    """Each setting with its value and the source that decided it."""
    rows = [(name, setting["value"], setting["from"]) for name, setting in settings.items()]
    print_table(console, ("setting", "value", "from"), rows)


def say(console: Console, text: str, *, whole: bool = False) -> None:
    """Text without markup. A terminal breaks it between words, unless it is `whole`: a command or path to be copied."""
    console.print(text, soft_wrap=whole or not console.is_terminal, markup=False, highlight=False, emoji=False)


def mark(console: Console, text: str) -> None:
    """Text with markup of ours; what is foreign in it went through `foreign`."""
    console.print(text, soft_wrap=not console.is_terminal, markup=True, highlight=False, emoji=False)


def print_card(console: Console, card: DataCard | None) -> None:
    """What the data set is, before anything is spent on it."""
    if card is not None:
        width = max(len(label) for label, _ in card_rows(card))
        for label, value in card_rows(card):
            say(console, f"{label:<{width}}  {value}")


def how_scored(protocol: Protocol) -> str:
    """How the scores of a protocol are taken, in one line with its fingerprint."""
    taken = protocol.score
    variance = f" ({taken.variance})" if taken.variance else ""
    return (
        f"{taken.metric} against {taken.reference_count:,} {taken.reference_split} images, {taken.num_images:,} images "
        f"in {taken.sampling_steps} {taken.sampler} steps{variance}; protocol {protocol.fingerprint}"
    )


def score(value: float | None) -> str:
    """A score for people; no score is a dash."""
    return "–" if value is None else f"{value:.4g}"


def ledger_line(ledger: Ledger) -> str:
    """What was used, in one line."""
    money = "unknown price" if ledger.cost_usd is None else f"${ledger.cost_usd:.4f}"
    tokens = f"{ledger.input_tokens:,} + {ledger.output_tokens:,} tokens ({money})"
    return f"{ledger.device_seconds:.0f} device-seconds, {ledger.wall_seconds:.0f} s wall-clock, {tokens}"
