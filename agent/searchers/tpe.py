"""`tpe`: Optuna's tree-structured Parzen estimator through ask and tell, with nothing kept between rounds.

Each round a fresh study in memory is told all trials. A sampler cannot know budget, directives or what was tried: an
ask that may not be proposed is told as pruned, which counts as bad, and asked again. Told as failed it would not be
seen, and the same would be asked again for ever (measured with Optuna 5.0: of 60 rounds 13 to 51 were reached).
"""

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from agent.searchers.base import Proposal, Seen
from agent.searchers.random_search import anywhere
from diffusion.neighbourhood import Grid
from memory.queries.so_far import TrialSoFar

MOST_ASKS = 50  # of a round; with 5 % of a space feasible a new spec took 2.5 on average
SEEDS = 2**32  # what Optuna's generators take

STATES = {"scored": TrialState.COMPLETE, "running": TrialState.RUNNING}
"""The rest counts as bad. A running trial is taken for bad too until it is told (the constant liar)."""


class TPE:
    """Asks Optuna's TPE."""

    name = "tpe"

    def __init__(self) -> None:
        self.told: list[TrialSoFar] = []

    def tell(self, trial: TrialSoFar) -> None:
        """Learn of a trial."""
        self.told.append(trial)

    def ask(self, seen: Seen) -> Proposal | None:
        """The first ask that is feasible and untried; a random spec where there is none among many."""
        if not len(seen.feasible):
            return None
        grid = Grid(seen.limits.space, seen.limits.protocol.settings.family)
        distributions, study = distributions_of(grid), self._study(seen, grid)
        for asks in range(1, MOST_ASKS + 1):
            asked = study.ask(distributions)
            spec = grid.spec(tuple(asked.params[name] for name in distributions))
            if seen.allowed(np.array([spec.row], dtype=np.int64))[0]:
                scored = sum(trial.state == "scored" for trial in self.told)
                return Proposal(spec, f"Optuna's TPE asks for it after {scored} scored trials, in ask {asks}.")
            study.tell(asked, state=TrialState.PRUNED)
        return anywhere(seen, f"TPE asked for nothing feasible and untried in {MOST_ASKS} asks")

    def _study(self, seen: Seen, grid: Grid) -> optuna.Study:
        """What was told, as a study with a sampler for this round alone."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=TPESampler(seed=int(seen.rng.integers(SEEDS))))
        study.add_trials([trial for each in self.told if (trial := as_optuna(each, grid)) is not None])
        return study


def distributions_of(grid: Grid) -> dict[str, BaseDistribution]:
    """Sizes as ordered places among their choices, attention as categories.

    All as categories left twice the regret on a synthetic score.
    """
    return {
        name: CategoricalDistribution(range(size)) if name.startswith("attn") else IntDistribution(0, size - 1)
        for name, size in grid.sizes.items()
    }


def as_optuna(trial: TrialSoFar, grid: Grid) -> FrozenTrial | None:
    """A trial as Optuna knows it; None of a spec outside the space."""
    if (place := grid.place(trial.spec)) is None:
        return None
    return create_trial(
        state=STATES.get(trial.state, TrialState.PRUNED),
        value=trial.score,  # TPE sees the order of scores alone, so that their logarithms say the same
        params=dict(zip(grid.sizes, place, strict=True)),
        distributions=distributions_of(grid),
    )
