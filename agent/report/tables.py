"""Tables for people; the same values as under ``--json``, nothing computed here but how they look."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from agent.report.console import is_plain, people, put_json
from agent.report.results import plain
from diffusion.data.card import DataCard, card_rows
from diffusion.settings import Protocol
from diffusion.units import visible
from memory.ledger import Ledger

WHOLE = ("spec", "widths", "name", "state", "round", "score")  # columns of what is copied and pasted
NONE = "–"  # what stands where there is no value
GAP = 2  # spaces between two columns
LONGEST_WORD = 24  # a longer one, such as a path, may be broken


def show(found: Any, as_json: bool, for_people: Callable[[Console, Any], None]) -> None:
    """Print what a reading command found: as JSON, or as `for_people` has it."""
    if as_json:
        put_json(plain(found))
    else:
        for_people(people(), found)


def print_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[object]], right: str = "") -> None:
    """A plain table; `right` names the columns that are aligned to the right, separated by commas.

    Cells are broken between words. Where a terminal is too narrow even for that, each row is a paragraph; where there
    is none, lines are as long as they need be. In plain lines a row is a line in which each value has its name.
    """
    if is_plain(console):
        for row in rows:
            named = zip(columns, row, strict=True)
            say(console, "; ".join(f"{name.strip()} {cell}".strip() for name, cell in named if str(cell).strip()))
        return
    cells = [[visible(column) for column in columns], *([visible(str(cell)) for cell in row] for row in rows)]
    whole = [column in WHOLE for column in columns]
    found = _column_widths(cells, whole, console.width if console.is_terminal else None)
    if found is None:
        for number, row in enumerate(cells[1:]):
            text = "\n".join(f"{column.strip()}: {cell}" for column, cell in zip(cells[0], row, strict=True))
            say(console, f"\n{text}" if number else text)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, width, is_whole in zip(cells[0], found, whole, strict=True):
        justify: Literal["left", "right"] = "right" if column in right.split(",") else "left"
        table.add_column(Text(column), justify=justify, overflow="fold", width=width, no_wrap=is_whole)
    for row in cells[1:]:
        table.add_row(*map(Text, row))
    room = max(console.width, sum(found) + GAP * len(found))
    console.print(Segments(console.render(table, console.options.update(width=room))), crop=False, end="")


def _column_widths(cells: Sequence[Sequence[str]], whole: Sequence[bool], room: int | None) -> list[int] | None:
    """The width of each column in so much room, so that no word is broken; None where there is too little."""
    least, full = list[int](), list[int]()
    for column, is_whole in zip(zip(*cells, strict=True), whole, strict=True):
        lines = [line for cell in column for line in cell.splitlines()]
        full.append(max(map(cell_len, lines), default=0))
        words = [min(cell_len(word), LONGEST_WORD) for line in lines for word in line.split()]
        least.append(full[-1] if is_whole else max(words, default=0))
    if room is None:
        return full
    spare = room - sum(least) - GAP * (len(least) - 1)
    if spare < 0:
        return None
    for left, index in enumerate(sorted(range(len(full)), key=lambda at: full[at] - least[at])):
        more = min(full[index] - least[index], spare // (len(full) - left))
        least[index], spare = least[index] + more, spare - more
    return least


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
    return NONE if value is None else f"{value:.4g}"


def span(low: float | None, high: float | None) -> str:
    """An interval of scores for people; none is a dash."""
    return NONE if low is None or high is None else f"{score(low)} to {score(high)}"


def ledger_line(ledger: Ledger) -> str:
    """What was used, in one line."""
    money = "unknown price" if ledger.cost_usd is None else f"${ledger.cost_usd:.4f}"
    tokens = f"{ledger.input_tokens:,} + {ledger.output_tokens:,} tokens ({money})"
    return f"{ledger.device_seconds:.0f} device-seconds, {ledger.wall_seconds:.0f} s wall-clock, {tokens}"
