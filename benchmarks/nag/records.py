"""Results of a long study, one JSON object a line: what is there is not computed again."""

import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

R = TypeVar("R", bound=BaseModel)
K = TypeVar("K")


class Records(Generic[R]):
    """The results in a file, each of one kind; the file need not exist."""

    def __init__(self, path: Path, kind: type[R]) -> None:
        self.path, self.kind = path, kind
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # a killed process may have left half a line
        if whole != text:
            path.write_text(whole)
        self.all = [kind.model_validate_json(line) for line in whole.splitlines()]

    def missing(self, wanted: Iterable[K], key: Callable[[R], K]) -> Iterator[K]:
        """What is wanted and not there, in its order, looked up as it is asked for."""
        there = {key(each) for each in self.all}
        return (each for each in wanted if each not in there)

    def add(self, record: R) -> None:
        """Write a result down."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(record.model_dump_json() + "\n")
        self.all.append(record)

    def of(self, wanted: Iterable[K], key: Callable[[R], K]) -> list[R]:
        """What there is of what is wanted, in its order."""
        found = {key(each): each for each in self.all}
        return [found[each] for each in wanted if each in found]


def mean_and_spread(values: Iterable[float | None], factor: float = 1.0, digits: int = 2) -> str:
    """``98.70 ± 0.66`` over the seeds, a dash where it was not measured."""
    measured = [factor * value for value in values if value is not None]
    if not measured:
        return "–"
    spread = f" ± {statistics.stdev(measured):.{digits}f}" if len(measured) > 1 else ""
    return f"{statistics.fmean(measured):.{digits}f}{spread}"
