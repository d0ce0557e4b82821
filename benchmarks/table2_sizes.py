"""How many networks Table II of the DiffNAS paper can be of: ``python benchmarks/table2_sizes.py``.

Two orders of n networks without ties have few values of Spearman's rho, 1 - 6 S / (n (n² - 1)) with S the sum of
squared differences of ranks, and of Kendall's tau, 1 - 4 D / (n (n - 1)) with D the pairs that stand the other way
around. For each n the pairs (S, D) of all n! orders are found, and those that come to both printed figures of a row are
kept. A printed digit may be rounded or cut: in the table both happen. Where scores tie, tau-b has other values: for the
number of networks that the paper names, the fewest tied pairs are found with which a row's Kendall can be had. All of
that is exact; only the intervals of tau (Fieller, Hartley & Pearson 1957) are approximate. Nothing is trained.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import NamedTuple

from agent.study.printed import TABLE_2, PrintedRow

CLAIMED = 10  # networks, by the paper's Section V-A
SIZES = range(3, 15)  # of two networks both figures are 1 or -1; beyond fourteen the orders take minutes


class Order(NamedTuple):
    """What two orders of the same networks differ by."""

    squares: int  # sum of squared differences of ranks, S
    swapped: int  # pairs that stand the other way around, D


@cache
def orders(n: int) -> frozenset[Order]:
    """Every pair (S, D) that some order of n networks has.

    Places are filled one after the other. For each set of ranks that are used up, one integer has a bit for every
    (S, D) so far, at D · stride + S, so that a further rank moves all of them by one shift.
    """
    stride = n * (n * n - 1) // 3 + 1  # S is at most that of the reversed order
    layer = {0: 1}  # used ranks as bits → reached (S, D) as bits
    for place in range(n):
        following: dict[int, int] = {}
        for used, reached in layer.items():
            for rank in range(n):
                if not used >> rank & 1:
                    shift = (used >> rank).bit_count() * stride + (rank - place) ** 2
                    key = used | 1 << rank
                    following[key] = following.get(key, 0) | reached << shift
        layer = following
    (reached,) = layer.values()
    bits = bin(reached)[:1:-1]
    return frozenset(Order(at % stride, at // stride) for at, bit in enumerate(bits) if bit == "1")


def spearman(n: int, order: Order) -> Fraction:
    """Spearman's rho, which is also Pearson's correlation of the ranks."""
    return 1 - Fraction(6 * order.squares, n * (n * n - 1))


def kendall(n: int, order: Order) -> Fraction:
    """Kendall's tau."""
    return 1 - Fraction(4 * order.swapped, n * (n - 1))


def bounds(printed: str) -> tuple[Fraction, Fraction]:
    """From where, and below where, a value comes to the printed digits, rounded or cut."""
    unit = Fraction(1, 10 ** len(printed.partition(".")[2]))
    return Fraction(printed) - unit / 2, Fraction(printed) + unit


def prints_as(value: Fraction, printed: str) -> bool:
    """Whether a value comes to the printed digits, rounded or cut."""
    low, high = bounds(printed)
    return low <= value < high


def fitting(row: PrintedRow, n: int) -> Iterator[Order]:
    """The orders of n networks that have both figures of a row."""
    for order in orders(n):
        if prints_as(spearman(n, order), row.spearman) and prints_as(kendall(n, order), row.kendall):
            yield order


def sizes(row: PrintedRow) -> list[int]:
    """Which n allow a row."""
    return [n for n in SIZES if any(fitting(row, n))]


def sizes_of(strategy: str) -> list[int]:
    """Which n allow all rows of a strategy."""
    allowed = [set(sizes(row)) for row in TABLE_2 if row.strategy == strategy]
    return sorted(set.intersection(*allowed))


def fewest_ties(row: PrintedRow, n: int) -> int:
    """With how many tied pairs, in both orders together, n networks can have a row's Kendall as tau-b.

    tau-b is a whole number over √((P - t) (P - u)) with P pairs, of which t and u are tied; both sides are squared.
    """
    pairs = n * (n - 1) // 2
    low, high = (bound**2 for bound in bounds(row.kendall))
    for ties in range(pairs):
        for first in range(ties + 1):
            untied = (pairs - first) * (pairs - ties + first)
            if any(low * untied <= whole**2 < high * untied for whole in range(pairs + 1)):
                return ties
    raise AssertionError(f"no ties give {n} networks a tau of {row.kendall}")


def interval(tau: float, n: int) -> tuple[float, float]:
    """About the 95 % interval of Kendall's tau of n networks, from the variance 0.437 / (n - 4) of its atanh."""
    spread = 1.96 * math.sqrt(0.437 / (n - 4))
    return math.tanh(math.atanh(tau) - spread), math.tanh(math.atanh(tau) + spread)


def main() -> None:
    print(f"n: of {SIZES[0]} to {SIZES[-1]}, those that have both; ties: pairs, if n = {CLAIMED}, for Kendall alone")
    print("row of Table II    Spearman  Kendall   n    S, D    tau at 95 %  ties")
    for row in TABLE_2:
        printed = f"{row.strategy:<8} {row.train_steps:>9,}  {row.spearman:>8}  {row.kendall:>7}"
        for n in sizes(row):
            found = "; ".join(f"{order.squares}, {order.swapped}" for order in sorted(fitting(row, n)))
            low, high = interval(float(row.kendall), n)
            print(f"{printed}  {n:>2}  {found:>6}  {low:>5.2f} to {high:.2f}  {fewest_ties(row, CLAIMED):>4}")
    for strategy in ("standard", "rapid"):
        print(f"all rows of {strategy}: n = {', '.join(map(str, sizes_of(strategy)))}")
    equal = all(row.pearson == row.spearman for row in TABLE_2)
    print(f"Pearson is printed {'equal to Spearman in every row' if equal else 'unequal to Spearman somewhere'}")


if __name__ == "__main__":
    main()
