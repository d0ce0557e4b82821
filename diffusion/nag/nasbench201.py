"""NAS-Bench-201 (Dong & Yang 2020, arXiv 2001.00326): its cells as graphs, and the table of what they scored.

A cell has four nodes and an operation on each of its six edges. As a graph it is turned inside out: the edges become
nodes between an input and an output. A *cell* is six places in `OPERATIONS`, in the order of `EDGES`; its *number*
reads them as digits to the base 5. The table is a CSV file of the caller's: nothing of it is part of this package.
"""

import csv
import gzip
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion.errors import UserError
from diffusion.nag.graphs import Factor, GraphSpace, Places

Cell = tuple[int, ...]  # six places in OPERATIONS, in the order of EDGES
Floats = NDArray[np.float64]

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))  # of a cell, as rows 1 to 6 of a graph
NODES = 4  # of a cell
CELLS = len(OPERATIONS) ** len(EDGES)
NONE, SKIP = OPERATIONS.index("none"), OPERATIONS.index("skip_connect")
INPUT, NOTHING = "0", "#"  # these signs and sorting by text are the benchmark's: its count rests on them
TEXT = re.compile(r"\|([^|+]+)~0\|\+\|([^|+]+)~0\|([^|+]+)~1\|\+\|([^|+]+)~0\|([^|+]+)~1\|([^|+]+)~2\|")
IN_TEXT = tuple(EDGES.index(edge) for edge in ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)))


class NASBench201(GraphSpace[Cell]):
    """The 15,625 cells: input, six operations, output."""

    def places(self, architecture: Cell) -> Places:
        """Where a cell stands in each factor; raises `UserError`."""
        if len(architecture) != len(EDGES) or not all(0 <= each < len(OPERATIONS) for each in architecture):
            raise UserError(f"{architecture} is not a cell; it is six numbers from 0 to {len(OPERATIONS) - 1}")
        return (0, *architecture, 0)

    def architecture(self, places: Places) -> Cell:
        """The cell at places."""
        return places[1:-1]


@cache
def nasbench201() -> NASBench201:
    """The space; the same object each time."""
    eye = torch.eye(2 + len(OPERATIONS), dtype=torch.bool)[:, None]  # (7,1,7): one operator a row
    last = len(EDGES) + 1
    into = [(0, 1 + row) for row, (start, _) in enumerate(EDGES) if start == 0]
    between = [
        (1 + row, 1 + after)
        for (row, (_, end)), (after, (start, _)) in itertools.product(enumerate(EDGES), enumerate(EDGES))
        if end == start
    ]
    out_of = [(1 + row, last) for row, (_, end) in enumerate(EDGES) if end == NODES - 1]
    inner = tuple(Factor((row,), eye[2:]) for row in range(1, last))
    return NASBench201(
        name="nasbench201",
        operators=("input", "output", *OPERATIONS),
        edges=(*into, *between, *out_of),
        factors=(Factor((0,), eye[:1]), *inner, Factor((last,), eye[1:2])),
    )


def text(cell: Cell) -> str:
    """A cell as the benchmark writes it: ``|nor_conv_3x3~0|+|none~0|…|``."""
    nodes = [
        "|".join(f"{OPERATIONS[cell[EDGES.index((start, end))]]}~{start}" for start in range(end))
        for end in range(1, NODES)
    ]
    return "+".join(f"|{node}|" for node in nodes)


def parse(arch_str: str) -> Cell:
    """The cell of a text.

    Raises:
        UserError: it is none.
    """
    match = TEXT.fullmatch(arch_str.strip())
    if match is None or not set(match.groups()) <= set(OPERATIONS):
        raise UserError(f"'{arch_str}' is not a cell of NAS-Bench-201; write it like {text((3, 0, 1, 3, 2, 4))}")
    cell = [0] * len(EDGES)
    for row, name in zip(IN_TEXT, match.groups(), strict=True):
        cell[row] = OPERATIONS.index(name)
    return tuple(cell)


def number(cells: Iterable[Cell]) -> NDArray[np.int64]:
    """The number of each cell.  B → (B,)"""
    digits = np.array(list(cells), dtype=np.int64).reshape(-1, len(EDGES))
    return np.asarray(digits @ (len(OPERATIONS) ** np.arange(len(EDGES) - 1, -1, -1)), dtype=np.int64)


@cache
def every_cell() -> tuple[Cell, ...]:
    """All cells, by their numbers."""
    return tuple(itertools.product(range(len(OPERATIONS)), repeat=len(EDGES)))


def canonical(cells: Iterable[Cell], *, thorough: bool = False) -> NDArray[np.int64]:
    """The smallest number among the cells that are the same network as each.  B → (B,)

    Args:
        cells: of any kind.
        thorough: False: as the benchmark counts, 6,466 networks (arXiv 2001.00326, Section 3.1): what passes a `none`
            is nothing, what passes a `skip_connect` is as it was. True: sums are also sums in every order of their
            terms, and adding nothing changes none; 4,930 networks, whose accuracies differ within one no more
            than within one of the 6,466 (0.45 and 0.44 points on CIFAR-100).
    """
    return _canonical_numbers(thorough)[number(cells)]


@cache
def _canonical_numbers(thorough: bool) -> NDArray[np.int64]:
    first: dict[str, int] = {}
    return np.array([first.setdefault(_network(cell, thorough), place) for place, cell in enumerate(every_cell())])


def _network(cell: Cell, thorough: bool) -> str:
    """What a cell computes, written so that the same computation is the same text."""
    nodes = [[INPUT]]  # the terms of the sum that each node is
    for end in range(1, NODES):
        terms = []
        for start in range(end):
            operation, source = cell[EDGES.index((start, end))], nodes[start]
            if operation == NONE or source in ([], [NOTHING]):
                terms += [] if thorough else [NOTHING]
            elif operation == SKIP:
                terms += source if thorough else ["+".join(source)]
            else:
                terms.append(f"({'+'.join(source)})@{OPERATIONS[operation]}")
        nodes.append(sorted(terms))
    return "+".join(nodes[-1])


@dataclass(frozen=True)
class Table:
    """What the cells scored: accuracies in percent, MFLOPs, millions of parameters, as the file names them."""

    columns: Mapping[str, Floats]  # each (15625,), by the numbers of the cells

    @classmethod
    def read(cls, path: Path) -> "Table":
        """The table of a CSV file, gzipped or not, with ``arch_str`` and columns of numbers.

        Raises:
            UserError: there is no such file, or it is not the whole table.
        """
        if not path.is_file():
            raise UserError(f"'{path}' does not exist; name the CSV file of NAS-Bench-201's results")
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        header, *rows = csv.reader(content.decode().splitlines())
        if "arch_str" not in header:
            raise UserError(f"'{path}' has no column arch_str; it has {', '.join(header)}")
        place = header.index("arch_str")
        numbers = number(parse(row[place]) for row in rows)
        if sorted(numbers) != list(range(CELLS)):
            raise UserError(
                f"'{path}' has {len(rows)} rows of {len(set(numbers))} cells; the table is {CELLS}, each once"
            )
        return cls({name: _by_number(rows, at, numbers) for at, name in enumerate(header) if at != place})

    def of(self, column: str, cells: Sequence[Cell]) -> Floats:
        """What cells have in a column.  B → (B,)

        Raises:
            UserError: there is no such column.
        """
        if column not in self.columns:
            raise UserError(f"'{column}' is not a column of the table; there are {', '.join(self.columns)}")
        return self.columns[column][number(cells)]


def _by_number(rows: Sequence[Sequence[str]], at: int, numbers: NDArray[np.int64]) -> Floats:
    values = np.empty(len(rows))
    values[numbers] = [float(row[at]) for row in rows]
    return values
