"""What a rank study is made of: what was asked, its arms, and the steps at which they are scored."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.search.plan import Plan
from diffusion.errors import UserError
from diffusion.settings import Protocol, Strategy
from diffusion.spec import UNetSpec

RAPID, STANDARD, TRUTH = "rapid", "standard", "truth-"  # arms; a truth's name goes on with its number
FEWEST_TRUTH_SEEDS = 2


TRUTH_FACTOR = 2  # the full training's steps, as a multiple of the standard strategy's, unless they are asked for


SCORE_FRACTIONS = (0.25, 0.5)  # of a proxy's steps: where it is scored before its end


@dataclass(frozen=True)
class Asked:
    """What a study is to compare; the rest are the settings."""

    name: str
    specs: int
    rapid: Strategy
    standard: Strategy
    truth_steps: int | None = None
    truth_seeds: int = FEWEST_TRUTH_SEEDS
    score_steps: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Arm:
    """One strategy and one seed for all specs; `search` is its row in memory, 0 before there is one."""

    name: str
    planned: Plan
    score_steps: tuple[int, ...]  # ascending; the last is the end of the training
    search: int = 0

    @property
    def protocol(self) -> Protocol:
        """What its last scores are comparable under."""
        return self.planned.protocol

    @property
    def strategy(self) -> Strategy:
        """How its specs are trained."""
        return self.protocol.strategy

    @property
    def seed(self) -> int:
        """Of its trainings and images."""
        return self.planned.config.search.seed

    @property
    def is_truth(self) -> bool:
        """Whether it is a full training."""
        return self.name.startswith(TRUTH)

    def protocol_at(self, step: int) -> Protocol:
        """What its scores at a step are comparable under."""
        strategy = self.strategy.model_copy(update={"train_steps": step})
        return self.protocol.model_copy(update={"strategy": strategy})


@dataclass(frozen=True)
class Study:
    """Specs and arms, which are in the order in which they are trained: the proxies, then the full trainings."""

    name: str
    specs: tuple[UNetSpec, ...]  # the baseline first
    arms: tuple[Arm, ...]

    @property
    def proxies(self) -> tuple[Arm, ...]:
        """The short trainings."""
        return tuple(arm for arm in self.arms if not arm.is_truth)

    @property
    def truths(self) -> tuple[Arm, ...]:
        """The full ones."""
        return tuple(arm for arm in self.arms if arm.is_truth)

    def arm(self, name: str) -> Arm:
        """The arm of a name.

        Raises:
            UserError: there is none.
        """
        found = next((arm for arm in self.arms if arm.name == name), None)
        if found is None:
            raise UserError(f"'{name}' is no arm of the study {self.name}; there are {', '.join(self.arm_names)}")
        return found

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Their names in order."""
        return tuple(arm.name for arm in self.arms)


def truth_steps(asked: Asked) -> int:
    """How long the full trainings are."""
    return asked.truth_steps or TRUTH_FACTOR * asked.standard.train_steps


def score_steps(strategy: Strategy, asked: Sequence[int] | None) -> tuple[int, ...]:
    """Where a proxy is scored: the steps that it reaches of those asked for, and its end."""
    end = strategy.train_steps
    steps = asked or [max(1, round(fraction * end)) for fraction in SCORE_FRACTIONS]
    return tuple(sorted({step for step in steps if step < end} | {end}))
