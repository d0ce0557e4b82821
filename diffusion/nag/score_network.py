"""The score network of DiffusionNAG (Eq. 4 and 5): a transformer over the nodes of a graph.

    h_i = Emb_ops(v_i) + Emb_pos(i) + Emb_time(t)     (Eq. 4)
    s = MLP(transformer blocks(h; attention by E))    (Eq. 5)

Attention follows the edges: half of the heads see a node and those whose output it takes, the other half the node and
those that take its output; a stack of blocks sees further. Backwards, too, since whether a layer is there depends on
the one after it: with forward heads alone one stage of MobileNetV3 in 120 came out with a gap (docs/diffusionnag.md).
Unlike the published network it predicts the clean graph, from an input scaled by 1/√(1+σ²), and the score follows by
Tweedie's formula: it trains in seconds where predicting the raw score takes hours.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from diffusion.frozen import Frozen
from diffusion.nag.sde import wide

LONGEST_PERIOD = 100.0  # of the waves of log σ, which lies between -2.3 and 2.3
EXPANSION = 2  # of a block's hidden layer


class NetworkSize(Frozen):
    """How large a score network is, and which of its parts are switched off for an ablation."""

    width: int = 32  # of a node
    heads: int = 4  # every second looks along the edges, the others against them
    blocks: int = 2
    positions: bool = True  # whether nodes know where they stand
    mask: bool = True  # whether attention follows the graph


class ScoreNetwork(nn.Module):
    """The score of a space of graphs with one adjacency."""

    def __init__(self, adjacency: NDArray[np.bool_], columns: int, size: NetworkSize) -> None:
        super().__init__()
        nodes, width = len(adjacency), size.width
        self.size = size
        self.operators = nn.Linear(columns, width)
        self.positions = nn.Parameter(torch.randn(nodes, width) * width**-0.5) if size.positions else None
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_Block(width, size.heads) for _ in range(size.blocks))
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, columns)
        )
        sees = edge_mask(adjacency, size.heads) if size.mask else None
        self.register_buffer("sees", sees, persistent=False)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The expected clean graph.  (B,N,F), (B,) → (B,N,F)"""
        hidden = self.operators(x / (1 + wide(sigma) ** 2).sqrt())  # (B,N,width)
        if self.positions is not None:
            hidden = hidden + self.positions
        hidden = hidden + self.time(waves(sigma.log(), self.size.width))[:, None]
        for block in self.blocks:
            hidden = block(hidden, self.sees)
        found: Tensor = self.head(hidden)
        return found

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        """∇ log p_σ(x), as the network has it.  (B,N,F), (B,) → (B,N,F)"""
        found: Tensor = (self(x, sigma) - x) / wide(sigma) ** 2
        return found

    @property
    def parameter_count(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters())


class _Block(nn.Module):
    """Attention and two linear layers, each after a norm and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, EXPANSION * width), nn.SiLU(), nn.Linear(EXPANSION * width, width))

    def forward(self, hidden: Tensor, sees: Tensor | None) -> Tensor:
        """(B,N,width) → (B,N,width)"""
        parts = self.qkv(self.first_norm(hidden)).chunk(3, dim=2)  # 3: queries, keys, values
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)  # (B,heads,N,·)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=sees)
        hidden = hidden + self.out(attended.transpose(1, 2).flatten(2))
        found: Tensor = hidden + self.mlp(self.second_norm(hidden))
        return found


def edge_mask(adjacency: NDArray[np.bool_], heads: int) -> Tensor:
    """Whether a node (row) attends to another (column), itself included.  (N,N) → (heads,N,N) bool"""
    forward = torch.from_numpy(adjacency.T | np.eye(len(adjacency), dtype=np.bool_))
    return torch.stack([forward if head % 2 == 0 else forward.T for head in range(heads)])


def waves(values: Tensor, width: int) -> Tensor:
    """Sines and cosines of values at geometric periods.  (B,) → (B,width)"""
    half = width // 2
    rates = torch.exp(torch.linspace(0, -math.log(LONGEST_PERIOD), half)) * (2 * math.pi / 2)  # 2: the shortest period
    angles = values[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
