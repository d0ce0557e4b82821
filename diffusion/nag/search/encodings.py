"""What a predictor may see of NAS-Bench-201's cells, beside their graphs: what they compute.

Different cells can be the same network (`nasbench201.canonical`), and a predictor that sees operators edge by edge has
to learn from scores that they are. In these encodings they are the same row: a `none` is not there, a `skip_connect` is
seen through, the order of a sum does not matter.

A node of a cell is a sum of *terms*: the input, or an operation on an earlier node's sum.
"""

import itertools
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from diffusion.nag.nasbench201 import EDGES, NODES, NONE, OPERATIONS, SKIP, Cell

Floats = NDArray[np.float64]
Term = tuple[int, tuple["Term", ...]]  # an operation, and the terms of the sum that it is applied to
INPUT: Term = (-1, ())  # in place of an operation's number
Part = tuple[Hashable, ...]
COMPUTING = tuple(place for place, name in enumerate(OPERATIONS) if place not in (NONE, SKIP))


def output_terms(cell: Cell) -> tuple[Term, ...]:
    """The sum that a cell puts out, sorted; empty where nothing arrives."""
    nodes: list[tuple[Term, ...]] = [(INPUT,)]
    for end in range(1, NODES):
        terms: list[Term] = []
        for start, source in enumerate(nodes):
            operation = cell[EDGES.index((start, end))]
            if operation == SKIP:
                terms += source
            elif operation != NONE and source:
                terms.append((operation, source))
        nodes.append(tuple(sorted(terms)))
    return nodes[-1]


def path_counts(cells: Iterable[Cell]) -> Floats:
    """How many ways lead from input to output through each sequence of at most three operations.  B → (B, 40)

    BANANAS' path encoding (White et al. 2021, arXiv 1910.11858, Section 3.2), seen through skips and counted.
    """
    sequences = [each for length in range(NODES) for each in itertools.product(COMPUTING, repeat=length)]
    column = {sequence: at for at, sequence in enumerate(sequences)}
    rows = []
    for cell in cells:
        row = np.zeros(len(column))
        for path in _paths(output_terms(cell)):
            row[column[path]] += 1
        rows.append(row)
    return np.array(rows).reshape(-1, len(column))


def subterm_counts(cells: Sequence[Cell]) -> Floats:
    """How often each part of a computation occurs: terms whole, cut off below, and by depth.  B → (B, D)

    The features of a Weisfeiler–Lehman kernel on the tree of terms; columns are those that occur in the cells given, in
    the order in which they do.
    """
    terms = [output_terms(cell) for cell in cells]
    counts = [_parts(each) + Counter({("adds", _operations(each)): 1}) for each in terms]
    column = {part: at for at, part in enumerate(dict.fromkeys(itertools.chain.from_iterable(counts)))}
    rows = np.zeros((len(counts), len(column)))
    for row, count in zip(rows, counts, strict=True):
        for part, times in count.items():
            row[column[part]] = times
    return rows


def _paths(terms: Iterable[Term]) -> Iterator[tuple[int, ...]]:
    for operation, source in terms:
        yield from [()] if source == () else ((*path, operation) for path in _paths(source))


def _parts(terms: tuple[Term, ...], depth: int = 0) -> Counter[Part]:
    """The parts of a sum: of each term its operation by depth, what that is applied to, and the whole of it."""
    found: Counter[Part] = Counter()
    for term in terms:
        operation, source = term
        found["at", operation, depth] += 1
        if source:
            found["of", operation, _operations(source)] += 1
            found["whole", term] += 1
            found += _parts(source, depth + 1)
    return found


def _operations(terms: Iterable[Term]) -> tuple[int, ...]:
    return tuple(operation for operation, _ in terms)
