"""A bootstrapped ensemble of small networks that predict how architectures rank, trained all at once.

What it learns are ranks, not scores (`diffusion/nag/ranks.py`). A rank enters as its normal score, the quantile of a
normal distribution at the rank's place, so the best ones stay apart from each other as far as the worst. Higher is
better.

Every member is trained on rows drawn with replacement; what it never saw is its own test (`out_of_bag`). All members
are one batch of matrices: a fit at 60 rows is 0.2 s on one core.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata
from torch import Tensor

from diffusion.nag.ranks import out_of_bag
from diffusion.nag.search.acquisition import Belief

Floats = NDArray[np.float64]
CHUNK = 4096  # architectures predicted at a time: members × width floats each


@dataclass(frozen=True)
class Recipe:
    """How an ensemble is trained; chosen by rank correlation on cells held out, at 10 to 60 rows."""

    members: int = 10
    width: int = 32  # of the two hidden layers
    steps: int = 120  # of Adam, each over all rows
    learning_rate: float = 0.01
    weight_decay: float = 0.3
    floor: float = 0.1  # under the deviation, in normal scores: 0.1 is 2 % of the ranks about their middle


@dataclass(frozen=True)
class Ensemble:
    """A trained one."""

    recipe: Recipe
    layers: Sequence[tuple[Tensor, Tensor]]  # weights (M, in, out) and biases (M, 1, out)
    centre: Tensor  # of the features that it was trained on  (D,)
    targets: Floats  # the normal scores of the rows  (B,)
    on_rows: Floats  # what the members say of the rows  (M, B)
    left_out: NDArray[np.bool_]  # whether a member never saw a row  (M, B)

    @classmethod
    def fit(cls, features: Tensor, scores: Floats, seed: int, recipe: Recipe | None = None) -> "Ensemble":
        """Train on what architectures scored, higher being better.

        Args:
            features: (B, D) float32, two rows at least.
            scores: (B,), finite; a failed training is to come as worse than all others.
            seed: the same gives the same members.
            recipe: the default one if None.

        Raises:
            ValueError: fewer than two rows, or a score that is not finite.
        """
        if len(scores) < 2 or not np.isfinite(scores).all():
            raise ValueError(f"{len(scores)} scores: it takes two or more, all finite")
        recipe, generator = recipe or Recipe(), torch.Generator().manual_seed(seed)
        drawn = torch.randint(len(scores), (recipe.members, len(scores)), generator=generator)
        counts = torch.zeros(recipe.members, len(scores)).scatter_add_(1, drawn, torch.ones(drawn.shape))
        targets, centre = normal_scores(scores), features.mean(dim=0)
        layers = _layers((features.shape[1], recipe.width, recipe.width, 1), recipe.members, generator)
        _train(layers, features - centre, torch.as_tensor(targets, dtype=torch.float32), counts, recipe)
        with torch.no_grad():
            on_rows = _forward(layers, features - centre).double().numpy()
        return cls(recipe, layers, centre, targets, on_rows, (counts == 0).numpy())

    def members(self, features: Tensor) -> Floats:
        """What each member says, in normal scores.  (C, D) → (M, C)"""
        with torch.no_grad():
            found = [_forward(self.layers, chunk - self.centre) for chunk in torch.split(features, CHUNK)]
        return torch.cat(found, dim=1).double().numpy()

    def belief(self, features: Tensor) -> Belief:
        """What is believed of architectures, in normal scores.  (C, D) → C"""
        return Belief.of_members(self.members(features), self.recipe.floor)

    @property
    def best(self) -> float:
        """The highest mean over the rows: the best score's own luck is not believed."""
        return float(self.on_rows.mean(axis=0).max())

    def out_of_bag(self) -> float:
        """How well it ranks what it has not seen: Spearman's ρ of each row's score and the members that never saw it.

        It is 0 with fewer than three such rows, or where all rows or all predictions are alike.
        """
        return out_of_bag(self.on_rows, self.left_out, self.targets, fewest=3)


def normal_scores(scores: Floats) -> Floats:
    """Each score's rank r of n as Φ⁻¹((r - ½) / n); ties share theirs (van der Waerden 1952).  (B,) → (B,)"""
    return np.asarray(ndtri((rankdata(scores) - 0.5) / len(scores)), dtype=np.float64)


def _layers(widths: Sequence[int], members: int, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Untrained layers, scaled for ReLU (He et al. 2015)."""
    layers = []
    for wide, out in pairwise(widths):
        weight = torch.randn(members, wide, out, generator=generator) * (2 / wide) ** 0.5
        layers.append((weight.requires_grad_(), torch.zeros(members, 1, out, requires_grad=True)))
    return layers


def _forward(layers: Sequence[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    """All members on the same rows.  (B, D) → (M, B)"""
    hidden = x.expand(len(layers[0][0]), *x.shape)  # (M, B, D)
    for place, (weight, bias) in enumerate(layers):
        hidden = torch.baddbmm(bias, hidden if place == 0 else hidden.relu(), weight)
    return hidden[..., 0]


def _train(layers: list[tuple[Tensor, Tensor]], x: Tensor, targets: Tensor, counts: Tensor, recipe: Recipe) -> None:
    """Squared error, each row as often as a member drew it; the rate falls to zero."""
    parameters = [tensor for layer in layers for tensor in layer]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=True)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    for _ in range(recipe.steps):
        loss = (counts * (_forward(layers, x) - targets) ** 2).mean(dim=1).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        falling.step()
    for parameter in parameters:
        parameter.requires_grad_(False)
