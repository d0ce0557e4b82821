"""`random`: every feasible network as likely as every other. Others fall back to it where they have nothing to say."""

from agent.searchers.base import Proposal, Seen
from diffusion.spec import UNetSpec
from memory.queries.so_far import TrialSoFar


class Random:
    """Uniform over what is feasible and untried."""

    name = "random"

    def tell(self, trial: TrialSoFar) -> None:
        """Learns nothing."""

    def ask(self, seen: Seen) -> Proposal | None:
        """One of the feasible networks; None where there is none left."""
        return anywhere(seen, "each is as likely as any other")


def anywhere(seen: Seen, why: str) -> Proposal | None:
    """A random feasible network, and why it is a random one."""
    if not len(seen.feasible):
        return None
    row = seen.feasible[seen.rng.integers(len(seen.feasible))]
    return Proposal(UNetSpec.from_row(row), f"A random feasible spec: {why}.")
