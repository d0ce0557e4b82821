"""`nag`: guided generation (DiffusionNAG, Algorithm 2): candidates come from a diffusion over architectures.

A predictor of ranks that has learned from the trials steers the generator; of what comes out and may be proposed, the
surrogate of `gp` takes what promises most. Where `gp` looks at every feasible network, this looks at a hundred good
ones, so it also goes where a space is too large to be enumerated.
"""

from agent.searchers.base import Proposal, Seen
from agent.searchers.random_search import anywhere
from diffusion.nag.predictor import RankEnsemble
from memory.queries.so_far import TrialSoFar
from tools.generation import proposals
from tools.suggestions import Forecast, as_percent, suggest


class NAG:
    """Proposes the most promising of what was generated."""

    name = "nag"

    def tell(self, trial: TrialSoFar) -> None:
        """Nothing is kept: all trials stand in what it is asked with."""

    def ask(self, seen: Seen) -> Proposal | None:
        """The generated network of the largest expected improvement; a random one where nothing new was generated."""
        rows, predictor, _ = proposals(seen.limits, seen.trials, seen.allowed, seen.rng)
        if not len(rows):
            return anywhere(seen, "nothing was generated that is feasible and untried")
        suggestions = suggest(seen.trials, rows, seen.limits.protocol.settings.family, seen.rng)
        spec, forecast = suggestions.found[0]
        return Proposal(spec, reason(forecast, len(rows), predictor))


def reason(forecast: Forecast | None, count: int, predictor: RankEnsemble | None) -> str:
    """Why it is proposed, in one line."""
    if forecast is None or predictor is None:
        return "Generated within the budget: with fewer than five scores nothing else guides."
    return (
        f"Of {count} networks that were generated, guided by ranks (correlation of those left out "
        f"{predictor.correlation:.2f}), it has the largest expected improvement, {as_percent(forecast.improvement)}: "
        f"predicted {forecast.score:.4g} (90 %: {forecast.low:.4g} to {forecast.high:.4g})."
    )
