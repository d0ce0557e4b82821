"""Architectures as graphs (DiffusionNAG, Section 2): a matrix of operators V and a fixed upper triangular adjacency E.

V has a row for each of N nodes and a column for each of F operators. It comes in two scales: *one-hot*, 0 and 1, what
a generator yields; and *scaled*, ±1 and possibly noisy, what diffusion and predictors see. A row of zeros is a node
that is absent. What V may be is a product of *factors*: groups of rows that vary independently of all others, each
with its members. One place among the members of each factor is one architecture.

    encode(architectures) → (B,N,F) float32, ±1        quantise(scaled) → (B,N,F) bool
    decode(one-hot, the id of their space) → architectures, None where a graph is none

Graphs go through files and processes without their space, so `decode` asks for the id of the space that made them.
"""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.errors import UserError

A = TypeVar("A")  # an architecture in its own words: a cell, layers, a spec
Places = tuple[int, ...]  # of an architecture among the members of each factor
ID_DIGITS = 12  # as of every other fingerprint


@dataclass(frozen=True, eq=False)
class Factor:
    """Rows of V that vary together, independently of all others."""

    rows: tuple[int, ...]
    members: Tensor  # (M, rows, F) bool, each once

    @cached_property
    def place_of(self) -> dict[bytes, int]:
        """The place of each member, by its bits."""
        return {bits: place for place, bits in enumerate(_bits(self.members))}


@dataclass(frozen=True, eq=False)
class GraphSpace(ABC, Generic[A]):
    """The graphs of one search space, and what they mean. Two spaces are equal if their ids are."""

    name: str
    operators: tuple[str, ...]  # of each column
    edges: tuple[tuple[int, int], ...]  # from a node to a later one
    factors: tuple[Factor, ...]  # every row stands in exactly one

    @abstractmethod
    def places(self, architecture: A) -> Places:
        """Where an architecture stands in each factor.

        Raises:
            UserError: it is not of this space.
        """

    @abstractmethod
    def architecture(self, places: Places) -> A:
        """The architecture at places."""

    @property
    def nodes(self) -> int:
        """Rows of V, N."""
        return sum(len(factor.rows) for factor in self.factors)

    @property
    def columns(self) -> int:
        """Columns of V, F."""
        return len(self.operators)

    @property
    def size(self) -> int:
        """How many architectures there are."""
        return math.prod(len(factor.members) for factor in self.factors)

    @cached_property
    def adjacency(self) -> NDArray[np.bool_]:
        """E: whether a node's output goes to another; upper triangular.  (N,N)"""
        found = np.zeros((self.nodes, self.nodes), dtype=np.bool_)
        found[tuple(zip(*self.edges, strict=True))] = True
        return found

    @cached_property
    def allowed(self) -> Tensor:
        """Which operators a row may take.  (N,F) bool"""
        found = torch.zeros(self.nodes, self.columns, dtype=torch.bool)
        for factor in self.factors:
            found[list(factor.rows)] = factor.members.any(dim=0)
        return found

    @cached_property
    def id(self) -> str:
        """Twelve hex digits of all that a graph of it means."""
        said = [self.name, self.operators, self.edges, [factor.rows for factor in self.factors]]
        digest = hashlib.sha256(json.dumps(said).encode())
        for factor in self.factors:
            digest.update(factor.members.numpy().tobytes())
        return digest.hexdigest()[:ID_DIGITS]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GraphSpace) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def encode(self, architectures: Iterable[A]) -> Tensor:
        """Architectures as V in ±1.  → (B,N,F) float32

        Raises:
            UserError: one of them is not of this space.
        """
        places = [self.places(each) for each in architectures]
        return scaled(self.graphs(torch.tensor(places, dtype=torch.int64).reshape(-1, len(self.factors))))

    def graphs(self, places: Tensor) -> Tensor:
        """The one-hot graphs at places.  (B, factors) int64 → (B,N,F) bool"""
        found = torch.empty(len(places), self.nodes, self.columns, dtype=torch.bool)
        for factor, column in zip(self.factors, places.T, strict=True):
            found[:, list(factor.rows)] = factor.members[column]
        return found

    def places_of(self, graphs: Tensor) -> Tensor:
        """Where one-hot graphs stand in each factor, -1 where no member is like that.  (B,N,F) → (B, factors) int64"""
        found = [
            [factor.place_of.get(bits, -1) for bits in _bits(graphs[:, list(factor.rows)])] for factor in self.factors
        ]
        return torch.tensor(found, dtype=torch.int64).T.reshape(-1, len(self.factors))

    def valid(self, graphs: Tensor) -> Tensor:
        """Which one-hot graphs are architectures.  (B,N,F) → (B,) bool"""
        return (self.places_of(graphs) >= 0).all(dim=1)

    def decode(self, graphs: Tensor, space_id: str) -> list[A | None]:
        """The architecture of each one-hot graph, None where it is none.  (B,N,F) → B

        Raises:
            UserError: the graphs are of another space.
        """
        if space_id != self.id:
            raise UserError(f"'{space_id}' is not the space {self.name} ({self.id}); decode with the one that made it")
        places: Sequence[Sequence[int]] = self.places_of(graphs).tolist()
        return [None if min(each) < 0 else self.architecture(tuple(each)) for each in places]

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Architectures drawn uniformly, with repeats.  → (count, N, F) bool"""
        drawn = [torch.randint(len(factor.members), (count,), generator=generator) for factor in self.factors]
        return self.graphs(torch.stack(drawn, dim=1))

    def members(self) -> Tensor:
        """Every architecture, in the order of places; for spaces that can be enumerated.  → (size, N, F) bool"""
        places = [torch.arange(len(factor.members)) for factor in self.factors]
        return self.graphs(torch.cartesian_prod(*places).reshape(-1, len(self.factors)))


def scaled(graphs: Tensor) -> Tensor:
    """One-hot graphs in ±1.  (B,N,F) → (B,N,F) float32"""
    return 2 * graphs.to(torch.float32) - 1


def quantise(x: Tensor) -> Tensor:
    """Scaled graphs mapped back to 0 and 1, and 1 where that exceeds 0.5.  (B,N,F) → (B,N,F) bool"""
    return (x + 1) / 2 > 0.5


def _bits(members: Tensor) -> list[bytes]:
    """Each member as bytes.  (B, rows, F) bool → B"""
    flat = members.to(torch.bool).reshape(len(members), -1).numpy()
    return [row.tobytes() for row in np.packbits(flat, axis=1)]
