"""The classical proposal for a round in which the model gave none: a feasible neighbour of the best, uniformly."""

import random

from diffusion.spec import UNetSpec
from diffusion.streams import stream_seed
from memory.connection import opened
from memory.queries import best
from memory.trials import spec_in_search
from tools.context import SearchContext
from tools.gates import over_budget

SAMPLES = 10_000  # tries to find any feasible untried spec once every neighbour is used up


def fallback_spec(context: SearchContext) -> tuple[UNetSpec, str] | None:
    """A new spec within the budget and why, a function of (seed, round, memory); None when the space is used up."""
    rng = random.Random(stream_seed(context.seed, "fallback", context.round_number))
    with opened(context.db_path, read_only=True) as db:
        ranking = best(db, context.search, limit=None)

        def is_new(spec: UNetSpec) -> bool:
            return over_budget(context, spec) is None and spec_in_search(db, context.search, spec) is None

        for row in ranking:
            found = [spec for spec in context.space.neighbours(UNetSpec.parse(row["spec"])) if is_new(spec)]
            if found:
                return rng.choice(
                    found
                ), f"A random feasible neighbour of trial {row['trial']}, the best with one left."
        for _ in range(SAMPLES):
            if is_new(spec := context.space.sample(rng)):
                return spec, "A random feasible spec: no scored trial has an untried neighbour."
    return None
