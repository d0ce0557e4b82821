"""NAS-Bench-201 as its networks: which cells are one, what is known of each without a training, what a data set says.

A search over cells that are the same network would pay twice for one; `members` are one cell of each of the 4,930
networks, the first by number.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion.nag.nasbench201 import Cell, Table, canonical, every_cell, nasbench201
from diffusion.nag.search.encodings import subterm_counts
from diffusion.nag.search.ensemble import normal_scores
from diffusion.nag.search.gaussian_process import Singles, view

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
SETS = ("cifar10", "cifar100", "imagenet16")


@dataclass(frozen=True, eq=False)
class Landscape:
    """The benchmark's table and the views of its networks."""

    table: Table

    @classmethod
    def read(cls, path: Path) -> "Landscape":
        return cls(Table.read(path))

    def validation(self, name: str) -> Floats:
        """Of every cell, in percent, by number.  (15625,)"""
        return self.table.columns[f"{name}_val"]

    def test(self, name: str) -> Floats:
        """Of every cell, in percent, by number.  (15625,)"""
        return self.table.columns[f"{name}_test"]

    def others(self, name: str) -> list[str]:
        """The other two data sets."""
        return [each for each in SETS if each != name]

    @cached_property
    def members(self) -> Integers:
        """The numbers of one cell of each network."""
        return np.unique(canonical(every_cell(), thorough=True))

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells of `members`."""
        return [every_cell()[number] for number in self.members]

    @cached_property
    def computations(self) -> Singles:
        """Networks by what they compute.  (members, D)"""
        return view(subterm_counts(self.cells))

    @cached_property
    def operators(self) -> Singles:
        """All cells by their graphs, which knows of no equivalence.  (15625, D)"""
        return view(nasbench201().members().flatten(1).double().numpy())

    def transferred(self, name: str) -> Singles:
        """Networks by how they rank on the other two data sets, on the mean of both.  (members, 1)"""
        ranks = [normal_scores(self.validation(other)[self.members]) for other in self.others(name)]
        return view(np.mean(ranks, axis=0)[:, None])
