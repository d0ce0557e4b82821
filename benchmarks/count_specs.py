"""How many specs a second the closed form counts, one by one and in bulk: ``python benchmarks/count_specs.py``.

Fails when fewer than 5,000 a second are counted one by one, or 20,000 in bulk; specs are of the paper's space.
"""

import os
import platform
import random
import time
from collections.abc import Callable
from datetime import date
from typing import NamedTuple

from diffusion.cost.closed_form import cost, costs
from diffusion.space import built_in

LEAST_ONE_BY_ONE, LEAST_IN_BULK = 5_000, 20_000  # specs a second
REPEATS = 3  # the best counts: another process can only slow this one down


class Rates(NamedTuple):
    """Specs counted in one second."""

    one_by_one: float
    in_bulk: float


def measure(count_one_by_one: int, count_in_bulk: int) -> Rates:
    """The best of some repeats over random specs, half of them of each family."""
    rng = random.Random(0)
    specs = [built_in("images-32").sample(rng) for _ in range(count_one_by_one // 2)]
    rows = built_in("images-32").rows()[: count_in_bulk // 2]

    def one_by_one() -> None:
        for spec in specs:
            cost(spec, "ddpm"), cost(spec, "iddpm")

    def in_bulk() -> None:
        costs(rows, "ddpm"), costs(rows, "iddpm")

    return Rates(2 * len(specs) / _seconds(one_by_one), 2 * len(rows) / _seconds(in_bulk))


def _seconds(work: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    rates = measure(count_one_by_one=10_000, count_in_bulk=2 * built_in("images-32").size)
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"one by one  {rates.one_by_one:>9,.0f} specs a second (at least {LEAST_ONE_BY_ONE:,})")
    print(f"in bulk     {rates.in_bulk:>9,.0f} specs a second (at least {LEAST_IN_BULK:,})")
    assert rates.one_by_one >= LEAST_ONE_BY_ONE and rates.in_bulk >= LEAST_IN_BULK


if __name__ == "__main__":
    main()
