"""A study that goes on where it was stopped: a line of JSON for each of its cells, written when the cell is done."""

import json
import statistics
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

Key = Mapping[str, str | int]
Row = dict[str, Any]  # a key and what was measured


def play(path: Path, keys: Iterable[Key], measure: Callable[[Key], Mapping[str, Any]]) -> list[Row]:
    """Measure the cells that a file does not have yet; all its rows of these keys, in their order.

    A last line that was cut short by a killed process is measured again.
    """
    done = {_text(row, key): row for row in read(path) for key in [row["key"]]}
    found = []
    for key in keys:
        row = done.get(_text(key, key))
        if row is None:
            row = {"key": list(key), **key, **measure(key)}
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps({name: value for name, value in row.items() if name != "key"}), flush=True)
        found.append(row)
    return found


def read(path: Path) -> list[Row]:
    """The rows of a file; one cut short is cut off."""
    if not path.is_file():
        return []
    whole = path.read_text()
    kept = whole[: whole.rfind("\n") + 1]
    if kept != whole:
        path.write_text(kept)
    return [json.loads(line) for line in kept.splitlines()]


def mean_and_spread(rows: Iterable[Row], name: str, factor: float = 1.0, digits: int = 2) -> str:
    """``98.70 ± 0.66`` over the seeds, a dash where it was not measured."""
    values = [factor * row[name] for row in rows if row.get(name) is not None]
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}"


def _text(row: Mapping[str, Any], key: Iterable[str]) -> str:
    return json.dumps({name: row[name] for name in key}, sort_keys=True)
