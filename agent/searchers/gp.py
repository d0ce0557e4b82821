"""The searcher `gp`: expected improvement of the surrogate, maximised over every feasible network.

An enumerable space needs no optimiser of the acquisition. With fewer than five scores it draws at random.
"""

from agent.searchers.base import Proposal, Seen
from memory.queries.so_far import TrialSoFar
from tools.suggestions import Forecast, Suggestions, as_percent, covered, suggest


class GP:
    """Proposes what `suggest_architectures` puts first."""

    name = "gp"

    def tell(self, trial: TrialSoFar) -> None:
        """Nothing is kept: all trials stand in what it is asked with."""

    def ask(self, seen: Seen) -> Proposal | None:
        """The feasible network of the largest expected improvement, and why; None when nothing is left."""
        suggestions = suggest(seen.trials, seen.feasible, seen.limits.protocol.settings.family, seen.rng)
        if not suggestions.found:
            return None
        spec, forecast = suggestions.found[0]
        return Proposal(spec, reason(forecast, suggestions))


def reason(forecast: Forecast | None, suggestions: Suggestions) -> str:
    """Why the first suggestion is proposed, in one line."""
    if forecast is None or suggestions.surrogate is None:
        return "A random feasible network: with fewer than five scores there is no surrogate."
    return (
        f"Of all feasible networks it has the largest expected improvement, {as_percent(forecast.improvement)}: "
        f"predicted {forecast.score:.4g} (90 %: {forecast.low:.4g} to {forecast.high:.4g}). So far "
        f"{covered(suggestions.surrogate)}."
    )
