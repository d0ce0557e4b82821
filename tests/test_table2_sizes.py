"""The sizes that Table II of the paper allows, against every order of a few networks and against SciPy."""

import math
from collections.abc import Sequence
from fractions import Fraction
from importlib import import_module
from itertools import permutations, product
from typing import Any

import pytest
from scipy.stats import kendalltau, pearsonr, spearmanr

from agent.study.printed import TABLE_2, PrintedRow

ROWS: dict[tuple[str, int], PrintedRow] = {(row.strategy, row.train_steps): row for row in TABLE_2}


@pytest.fixture(scope="module")
def sizes() -> Any:
    return import_module("table2_sizes")


def order_of(ranks: Sequence[int]) -> tuple[int, int]:
    """Σd² and swapped pairs, written out."""
    n = len(ranks)
    return (
        sum((rank - place) ** 2 for place, rank in enumerate(ranks)),
        sum(ranks[i] > ranks[j] for i in range(n) for j in range(i + 1, n)),
    )


@pytest.mark.parametrize("n", range(2, 8))
def test_the_orders_are_those_of_all_permutations(sizes: Any, n: int) -> None:
    assert sizes.orders(n) == {order_of(ranks) for ranks in permutations(range(n))}


@pytest.mark.parametrize("ranks", [(1, 0, 2, 4, 3), (4, 3, 2, 1, 0), (2, 0, 1, 3, 6, 4, 5)])
def test_the_correlations_are_scipys_and_pearsons_of_ranks_is_spearmans(sizes: Any, ranks: tuple[int, ...]) -> None:
    n, order = len(ranks), sizes.Order(*order_of(ranks))
    assert float(sizes.spearman(n, order)) == pytest.approx(spearmanr(range(n), ranks).statistic)
    assert float(sizes.spearman(n, order)) == pytest.approx(pearsonr(range(n), ranks).statistic)
    assert float(sizes.kendall(n, order)) == pytest.approx(kendalltau(range(n), ranks).statistic)


@pytest.mark.parametrize(
    ("value", "printed", "fits"),
    [
        (Fraction(49, 60), "0.816", True),  # 0.81666…, cut
        (Fraction(49, 60), "0.817", True),  # rounded
        (Fraction(2, 3), "0.667", True),
        (Fraction(2, 3), "0.668", False),
        (Fraction(19, 20), "0.95", True),
        (Fraction(96, 100), "0.95", False),  # neither
        (Fraction(9449, 10_000), "0.95", False),
    ],
)
def test_a_printed_digit_is_rounded_or_cut(sizes: Any, value: Fraction, printed: str, fits: bool) -> None:
    assert sizes.prints_as(value, printed) is fits


@pytest.mark.parametrize(
    ("row", "n", "order"),
    [
        (("standard", 30_000), 9, (56, 10)),
        (("standard", 50_000), 9, (22, 6)),
        (("standard", 100_000), 9, (6, 3)),
        (("rapid", 30_000), 7, (6, 3)),
        (("rapid", 50_000), 7, (2, 1)),
    ],
    ids=str,
)
def test_a_row_allows_one_size_and_it_is_not_the_ten_of_the_text(
    sizes: Any, row: tuple[str, int], n: int, order: tuple[int, int]
) -> None:
    assert sizes.sizes(ROWS[row]) == [n] != [sizes.CLAIMED]
    assert list(sizes.fitting(ROWS[row], n)) == [order]


def test_the_rows_of_a_strategy_have_one_size(sizes: Any) -> None:
    assert (sizes.sizes_of("standard"), sizes.sizes_of("rapid")) == ([9], [7])


def test_pearson_is_printed_equal_to_spearman_in_every_row() -> None:
    assert [row.pearson for row in TABLE_2] == [row.spearman for row in TABLE_2]


def test_digits_are_cut_in_some_figures_and_rounded_in_others(sizes: Any) -> None:
    half = Fraction(1, 2000)
    errors = {"0.816": Fraction(49, 60), "0.904": Fraction(19, 21), "0.892": Fraction(25, 28), "0.667": Fraction(2, 3)}
    rounded = {text: abs(value - Fraction(text)) <= half for text, value in errors.items()}
    assert rounded == {"0.816": False, "0.904": False, "0.892": False, "0.667": True}


def test_ten_networks_have_three_of_the_rows_only_with_six_tied_pairs(sizes: Any) -> None:
    fewest = {key: sizes.fewest_ties(row, sizes.CLAIMED) for key, row in ROWS.items()}
    assert [fewest[key] for key in ROWS] == [0, 0, 6, 6, 6]


def test_the_fewest_ties_are_no_more_than_those_of_any_order_that_has_the_figure(sizes: Any) -> None:
    """Every pair of rankings of five with ties, against SciPy's tau-b."""
    found: dict[str, int] = {}
    for ranks in product(range(4), repeat=5):
        tau = kendalltau(range(5), ranks).statistic
        ties = sum(a == b for i, a in enumerate(ranks) for b in ranks[:i])
        if not math.isnan(tau) and tau > 0:
            found[f"{tau:.3f}"] = min(ties, found.get(f"{tau:.3f}", ties))
    assert len(found) > 10
    for printed, ties in found.items():
        assert sizes.fewest_ties(PrintedRow("rapid", 1, printed, printed, printed), 5) <= ties


def test_an_interval_of_tau_is_that_of_the_approximation(sizes: Any) -> None:
    low, high = sizes.interval(0.904, 7)
    assert (low + high) / 2 < 0.904 < high < 1
    assert math.atanh(high) - math.atanh(low) == pytest.approx(2 * 1.96 * math.sqrt(0.437 / 3))


def test_it_is_printed(sizes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    sizes.main()
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 + len(TABLE_2) + 3
    assert said[-3:-1] == ["all rows of standard: n = 9", "all rows of rapid: n = 7"]
