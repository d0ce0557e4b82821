"""A predictor that is conditioned on the data set (DiffusionNAG, Section 2.3): what one data set taught, told another.

    A_t ~ s(A_t, t) + k_t ∇ log f(y | D, A_t)                          (Eq. 10)

D enters as a set of items: features of its images, or architectures that were trained on it with their ranks. The set
is encoded by DeepSets (Zaheer et al. 2017, arXiv 1703.06114, Theorem 2), ρ(mean φ(item)), so that neither order nor
number of items matters; its code says how much each of a graph's traits counts, beside what counts everywhere. Learning
is over *episodes*, each a data set at one look: some items of it, some architectures and how they rank there. On an
unseen data set nothing is trained, its items are encoded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffusion.frozen import Frozen
from diffusion.nag.closed_form import ClosedForm
from diffusion.nag.graphs import scaled
from diffusion.nag.predictor import CLEAN, FEWEST
from diffusion.nag.ranks import rank_correlation, to_ranks
from diffusion.nag.sde import Process, wide
from diffusion.streams import generator

Floats = NDArray[np.float64]
FIRST_EPISODES = 64  # whose items are looked at before training
LEAST_SPREAD = 1e-4  # of a feature that is the same in all of them


class Episode(NamedTuple):
    """One look at a data set."""

    items: Tensor  # what it is seen by  (S, K) float32
    graphs: Tensor  # one-hot  (Q,N,F)
    ranks: Tensor  # of the graphs, from 0 to 1, the best  (Q,) float32


class MetaTraining(Frozen):
    """How a conditioned predictor is trained."""

    width: int = 128  # of hidden layers
    code: int = 32  # numbers that a data set becomes
    steps: int = 1500
    episodes: int = 4  # a step; all of the same sizes
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    seed: int = 0


class SetConditioned(nn.Module):
    """Ranks of noisy graphs on data sets.

    Args:
        prior: what the space alone says of a noisy graph.
        allowed: which operators a row may take, (N,F).
        item_size: K.
        training: how large it is.
    """

    def __init__(self, prior: ClosedForm, allowed: Tensor, item_size: int, training: MetaTraining) -> None:
        super().__init__()
        self.prior = prior
        self.columns = allowed.flatten().nonzero().flatten()  # what never changes says nothing
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            self.item = _layers(item_size, training.width, training.width)  # φ
            self.set = _layers(training.width, training.width, training.code)  # ρ
            self.graph = _layers(len(self.columns) + 1, training.width, training.width, 1 + training.code)
        self.register_buffer("centre", torch.zeros(training.width))
        self.register_buffer("spread", torch.ones(training.width))

    def encode(self, items: Tensor) -> Tensor:
        """Data sets as codes.  (T, S, K) → (T, code)"""
        pooled = self.item(items).mean(dim=-2)
        found: Tensor = self.set((pooled - self.centre) / self.spread)
        return found

    @torch.no_grad()
    def standardise(self, items: Tensor) -> None:
        """Set data sets apart as far as those given are, before training: a mean over items hardly tells any two.

        Without it codes differed by 0.002 after 400 steps, and predictions did not listen to them.  (T, S, K)
        """
        pooled = self.item(items).mean(dim=-2)
        self.centre, self.spread = pooled.mean(dim=0), pooled.std(dim=0).clamp_min(LEAST_SPREAD)

    def ranks(self, code: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """Of noisy graphs, each on the data set of its code; differentiable in x.  (B, code), (B,N,F), (B,) → (B,)"""
        soft = self.prior.soft(x, sigma).flatten(1)[:, self.columns]
        traits = self.graph(torch.cat([soft, sigma.log()[:, None]], dim=1))
        found: Tensor = traits[:, 0] + (traits[:, 1:] * code).sum(dim=1)
        return found


def meta_train(
    network: SetConditioned,
    draw: Callable[[torch.Generator], Episode],
    training: MetaTraining,
    process: Process | None = None,
) -> SetConditioned:
    """Minimise the squared error of ranks over episodes and levels of noise; half of the graphs come nearly clean.

    Ranking what is known asks for more precision than steering what is not.

    Args:
        network: it is trained in place, and returned for evaluation alone.
        draw: an episode, of the same sizes each time.
        training: how.
        process: its levels of noise.
    """
    process, first = process or Process(), generator(training.seed, "first episodes")
    network.standardise(torch.stack([draw(first).items for _ in range(FIRST_EPISODES)]))
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.steps)
    for step in range(training.steps):
        noise = generator(training.seed, "episodes", step)
        looks = [draw(noise) for _ in range(training.episodes)]
        clean, ranks = scaled(torch.cat([each.graphs for each in looks])), torch.cat([each.ranks for each in looks])
        sigma = process.draw(len(clean), noise)
        sigma[::2] = CLEAN
        x = clean + wide(sigma) * torch.randn(clean.shape, generator=noise)
        codes = network.encode(torch.stack([each.items for each in looks]))
        codes = codes.repeat_interleave(torch.tensor([len(each.graphs) for each in looks]), dim=0)
        optimizer.zero_grad()
        ((network.ranks(codes, x, sigma) - ranks) ** 2).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
    return network.eval().requires_grad_(False)


@dataclass(frozen=True)
class Conditioned:
    """A trained predictor told a data set: what guidance asks for ranks."""

    network: SetConditioned
    code: Tensor  # (code,)
    correlation: float  # of the ranks of graphs that are known on this data set, 0 if none are
    rank_variance: float = 1 / 12  # of ranks, uniform from 0 to 1

    def ranks(self, x: Tensor, sigma: Tensor) -> Tensor:
        """As an ensemble of one member.  (B,N,F), (B,) → (1, B)"""
        return self.network.ranks(self.code.expand(len(x), -1), x, sigma)[None]

    @torch.no_grad()
    def ranks_of(self, graphs: Tensor) -> Tensor:
        """Of one-hot graphs, without noise.  (B,N,F) → (B,)"""
        return self.ranks(scaled(graphs), torch.full((len(graphs),), CLEAN))[0]


@torch.no_grad()
def told(network: SetConditioned, items: Tensor, correlation: float = 0.0) -> Conditioned:
    """The predictor for a data set that is seen by its items.  (S, K)

    Args:
        network: a trained one.
        items: of the data set.
        correlation: how well it is known to rank there; with 0 it does not steer.
    """
    return Conditioned(network, network.encode(items[None])[0], correlation)


@torch.no_grad()
def told_labels(network: SetConditioned, graphs: Tensor, scores: Floats) -> Conditioned:
    """The predictor for a data set that is seen by labelled graphs; it is judged by each told the others.

    Args:
        network: a trained one, over episodes of `labelled`.
        graphs: one-hot, (S,N,F).
        scores: more is better; a failure is ``-inf``.  (S,)
    """
    items = labelled(graphs, scores)
    if len(graphs) < FEWEST:
        return told(network, items)
    others = torch.stack([labelled(_without(graphs, at), np.delete(scores, at)) for at in range(len(graphs))])
    predicted = network.ranks(network.encode(others), scaled(graphs), torch.full((len(graphs),), CLEAN)).numpy()
    return told(network, items, rank_correlation(predicted.astype(np.float64), scores))


def labelled(graphs: Tensor, scores: Floats) -> Tensor:
    """Labelled graphs as items: each flat, its rank r from -1 to 1 among them, both.  (S,N,F), (S,) → (S, 2 N·F + 1)

    The product is there so that a mean over items can say which operators go with good ranks.
    """
    flat = graphs.flatten(1).float()
    places = torch.from_numpy(2 * to_ranks(scores) - 1).float()[:, None]
    return torch.cat([flat, places, flat * places], dim=1)


def _without(graphs: Tensor, at: int) -> Tensor:
    return torch.cat([graphs[:at], graphs[at + 1 :]])


def _layers(*sizes: int) -> nn.Sequential:
    """Linear layers with SiLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.SiLU(), nn.Linear(inputs, outputs)]
    return nn.Sequential(*layers[1:])
