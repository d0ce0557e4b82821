"""What a proposed training strategy may be: its cost beside the standard strategy's, and the bounds of each value.

The cost is the MACs of a training. Those of one image are the spec's and the same under every strategy, so the share is
that of the images trained on: train_steps · batch_size. What a score costs is set by the score protocol, not here.
A loss weighting such as min-SNR is no field of a strategy, so none is searched. Nothing is asked of the memory here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from diffusion.settings import Strategy
from tools.errors import Refused

FIELDS = (
    "learning_rate", "dropout", "diffusion_steps", "batch_size", "train_steps", "warmup_steps", "ema_decay",
)  # fmt: skip  # what is searched; the others stay the standard strategy's
FEWEST_DIFFUSION_STEPS = 50  # diffusion.settings.Strategy: below it the scaled betas exceed one
WHOLE = ("diffusion_steps", "batch_size", "train_steps", "warmup_steps")  # fields that are whole numbers

Values = Mapping[str, float | int | None]


class Bound(NamedTuple):
    """The least and the most that a value may be."""

    low: float
    high: float


@dataclass(frozen=True)
class StrategyLimits:
    """What bounds the strategies of one search.

    `cost_limit` is the most that one may cost, as a share of the standard strategy's (the paper's E).
    """

    standard: Strategy
    cost_limit: float
    sampling_steps: int  # of the score protocol: no strategy may have fewer diffusion steps
    train_images: int  # of the data set: no batch is larger
    processes: int = 1  # of each training: each needs an image of the batch

    @property
    def standard_images(self) -> int:
        """Images that a training with the standard strategy sees."""
        return images_of(self.standard)

    @property
    def allowed_images(self) -> int:
        """The most images that a training may see."""
        return int(self.cost_limit * self.standard_images + 1e-6)  # a limit of 0.1 is not to lose a step to rounding

    def cost(self, strategy: Strategy) -> float:
        """The cost of a strategy as a share of the standard one's."""
        return images_of(strategy) / self.standard_images

    def most_steps(self, batch_size: int) -> int:
        """The most optimiser steps that fit with a batch size; 0 where not even one does."""
        return self.allowed_images // batch_size

    def bounds(self) -> dict[str, Bound]:
        """The bounds of each field; the standard strategy's values always lie within.

        Learning rates from 1e-5 to 1e-2, dropout up to a half, 4,000 diffusion steps (the paper's standard strategy)
        and averages over 10 to 100,000 steps span what image diffusion models are trained with.
        """
        smallest_batch = max(self.processes, min(8, self.standard.batch_size))
        found = {
            "learning_rate": Bound(1e-5, 1e-2),
            "dropout": Bound(0.0, 0.5),
            "diffusion_steps": Bound(max(FEWEST_DIFFUSION_STEPS, self.sampling_steps), 4000),
            "batch_size": Bound(smallest_batch, min(1024, self.train_images)),
            "train_steps": Bound(1, self.standard_images // smallest_batch),
            "warmup_steps": Bound(0, self.standard_images // smallest_batch),
            "ema_decay": Bound(0.9, 0.99999),
        }
        standard = self.standard.model_dump()
        return {
            name: Bound(min(bound.low, standard[name]), max(bound.high, standard[name]))
            for name, bound in found.items()
        }

    def strategy(self, values: Values) -> Strategy:
        """The strategy of proposed values; what is None or left out is filled in.

        The training is as long as the limit allows, the warm-up the same share of it as in the standard strategy, and
        everything else as there.

        Raises:
            Refused: a value is outside its bounds, or the whole costs more than the limit.
        """
        given = {name: value for name, value in values.items() if value is not None}
        for name, value in given.items():
            self._check(name, value)
        batch_size = int(given.get("batch_size", self.standard.batch_size))
        given.setdefault("train_steps", max(1, self.most_steps(batch_size)))
        steps = int(given["train_steps"])
        given.setdefault("warmup_steps", self._warmup_steps(steps))
        if given["warmup_steps"] > steps // 2:
            sentence = f"warmup_steps {given['warmup_steps']} is above {steps // 2}, half of the {steps} train_steps"
            raise Refused("outside_bounds", f"{sentence}; take fewer.")
        whole = {name: int(value) for name, value in given.items() if name in WHOLE}
        found = Strategy.model_validate({**self.standard.model_dump(), **given, **whole})
        self._check_cost(found)
        return found

    def _warmup_steps(self, steps: int) -> int:
        share = self.standard.warmup_steps / self.standard.train_steps
        return min(round(share * steps), steps // 2)

    def _check(self, name: str, value: float) -> None:
        low, high = self.bounds()[name]
        if not low <= value <= high:
            side = f"below {shown(low)}" if value < low else f"above {shown(high)}" if value > high else "no number"
            raise Refused(
                "outside_bounds", f"{name} {shown(value)} is {side}; take one from {shown(low)} to {shown(high)}."
            )

    def _check_cost(self, strategy: Strategy) -> None:
        images, steps = images_of(strategy), self.most_steps(strategy.batch_size)
        if images <= self.allowed_images:
            return
        over = self.cost(strategy) - self.cost_limit
        fits = f"at most {steps} train_steps fit" if steps else "not even one step fits: take a smaller batch"
        raise Refused(
            "over_limit",
            f"{strategy.train_steps} train_steps of batch_size {strategy.batch_size} cost "
            f"{self.cost(strategy):.3g} of the standard strategy, {over:.3g} over the limit of {self.cost_limit:.3g}; "
            f"with batch_size {strategy.batch_size} {fits}.",
        )


def shown(value: float) -> str:
    """A value as people write it: 2e-4 as 0.0002, 0.0 as 0, and every digit that makes a difference."""
    short = str(value)[:20] if isinstance(value, int) else f"{value:g}"  # a model may write a thousand digits
    return short if isinstance(value, int) or float(short) == value or value != value else repr(value)


def images_of(strategy: Strategy) -> int:
    """Images that a training sees."""
    return strategy.train_steps * strategy.batch_size
