"""What a noisy graph will rank among others: an ensemble of small networks, trained at every level of noise.

Ranks are learned instead of scores (`ranks`). A network sees the soft graph that is expected of a noisy one and log σ.
Each member learns from a bootstrap of the labelled graphs, so that those it has not drawn say how far it can be
trusted: the correlation of ranks that were left out. Members are trained together, one batched product a layer.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffusion.frozen import Frozen
from diffusion.nag.closed_form import ClosedForm
from diffusion.nag.graphs import scaled
from diffusion.nag.ranks import out_of_bag, to_ranks
from diffusion.nag.sde import Process, wide
from diffusion.streams import generator

FEWEST = 5  # labels; below them nothing is left out that could be judged
CLEAN = Process.sigma_min  # the level of noise at which ranks are asked for of graphs that are known


class PredictorTraining(Frozen):
    """How an ensemble is trained."""

    members: int = 8
    width: int = 64
    steps: int = 300
    learning_rate: float = 1e-2
    weight_decay: float = 1e-2
    batch_size: int = 256  # all labels where there are fewer
    seed: int = 0


class RankEnsemble(nn.Module):
    """Ranks of graphs from 0, the worst, to 1, the best, as each member predicts them."""

    def __init__(self, prior: ClosedForm, allowed: Tensor, training: PredictorTraining) -> None:
        super().__init__()
        self.prior, self.training_settings = prior, training
        self.columns = allowed.flatten().nonzero().flatten()  # what never changes says nothing
        noise, members, width = generator(training.seed, "predictor"), training.members, training.width
        sizes = [len(self.columns) + 1, width, width, 1]
        self.weights = nn.ParameterList(
            torch.randn(members, inputs, outputs, generator=noise) * math.sqrt(2 / inputs)
            for inputs, outputs in itertools.pairwise(sizes)
        )
        self.biases = nn.ParameterList(torch.zeros(members, 1, outputs) for outputs in sizes[1:])
        self.correlation = 0.0  # of the ranks that were left out
        self.rank_variance = 1.0  # of all labels

    def ranks(self, x: Tensor, sigma: Tensor) -> Tensor:
        """What each member predicts; differentiable in x.  (B,N,F), (B,) → (members, B)"""
        soft = self.prior.soft(x, sigma).flatten(1)[:, self.columns]
        hidden = torch.cat([soft, sigma.log()[:, None]], dim=1).expand(len(self.weights[0]), -1, -1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer + 1 < len(self.weights):
                hidden = nn.functional.silu(hidden)
        return hidden.squeeze(2)

    @torch.no_grad()
    def ranks_of(self, graphs: Tensor) -> Tensor:
        """Of one-hot graphs, without noise.  (B,N,F) → (members, B)"""
        return self.ranks(scaled(graphs), torch.full((len(graphs),), CLEAN))


def fit_ranks(
    prior: ClosedForm,
    graphs: Sequence[Tensor],
    goodness: NDArray[np.float64],
    *,
    allowed: Tensor,
    process: Process | None = None,
    training: PredictorTraining | None = None,
) -> RankEnsemble:
    """Learn the ranks of labelled architectures.

    Args:
        prior: what the space alone says of a noisy graph.
        graphs: of each architecture its graph, or all graphs that are the same network: at each step one of them is
            drawn. One-hot, M × (V,N,F); a tensor (M,N,F) has one for each.
        goodness: of each, more is better; a failure is ``-inf``.  (M,)
        allowed: which operators a row may take, (N,F).
        process: its levels of noise.
        training: how.

    Returns:
        The ensemble; with fewer than five labels its correlation is 0, so that it does not steer.
    """
    how = training or PredictorTraining()
    ensemble = RankEnsemble(prior, allowed, how)
    ranks = to_ranks(goodness)
    target = torch.from_numpy(ranks).float()
    ensemble.rank_variance = max(float(target.var(correction=0)), 1e-6)
    drawn = torch.randint(len(graphs), (how.members, len(graphs)), generator=generator(how.seed, "bootstrap"))
    counts = torch.stack([row.bincount(minlength=len(graphs)) for row in drawn]).float()  # (members, M)
    spelled = [each if each.dim() == allowed.dim() + 1 else each[None] for each in graphs]  # M × (V,N,F)
    _learn(ensemble, spelled, target, counts, process or Process())
    ensemble.eval().requires_grad_(False)
    predicted = ensemble.ranks_of(torch.stack([each[0] for each in spelled])).double().numpy()
    ensemble.correlation = out_of_bag(predicted, (counts == 0).numpy(), ranks, FEWEST)
    return ensemble


def _learn(ensemble: RankEnsemble, spelled: Sequence[Tensor], target: Tensor, counts: Tensor, process: Process) -> None:
    """Minimise the squared error of ranks at every level of noise, each label as often as a member has drawn it."""
    how = ensemble.training_settings
    optimizer = torch.optim.AdamW(ensemble.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.steps)
    flat, sizes = scaled(torch.cat(list(spelled))), torch.tensor([len(each) for each in spelled])
    starts = sizes.cumsum(dim=0) - sizes
    for step in range(how.steps):
        noise = generator(how.seed, "predictor noise", step)
        batch = torch.randperm(len(sizes), generator=noise)[: how.batch_size]
        spelling = (torch.rand(len(batch), generator=noise) * sizes[batch]).long()
        sigma = process.draw(len(batch), noise)
        clean = flat[starts[batch] + spelling]  # (B,N,F)
        x = clean + wide(sigma) * torch.randn(clean.shape, generator=noise)
        errors = (ensemble.ranks(x, sigma) - target[batch]) ** 2
        optimizer.zero_grad()
        (errors * counts[:, batch]).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
