"""Ranks, and how well they are told of what was not seen, on answers known by hand."""

import numpy as np
import pytest

from diffusion.nag.ranks import out_of_bag, rank_correlation, to_ranks


def test_ranks_go_from_the_worst_to_the_best_and_ties_share_theirs() -> None:
    assert to_ranks(np.array([10.0, 94.0, 93.9, 94.0])).tolist() == pytest.approx([0.0, 2.5 / 3, 1 / 3, 2.5 / 3])
    assert to_ranks(np.array([-np.inf, 3.0])).tolist() == [0.0, 1.0]
    assert to_ranks(np.array([5.0])).tolist() == [0.0]


def test_the_correlation_is_of_ranks_and_nothing_where_one_side_says_nothing() -> None:
    rising = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(rising, np.array([-np.inf, 0.1, 7.0, 1e9])) == pytest.approx(1.0)
    assert rank_correlation(rising, rising[[1, 0, 2, 3]]) == pytest.approx(0.8)  # 1 - 6 · 2 / (4 · 15)
    assert rank_correlation(np.ones(4), rising) == rank_correlation(rising, np.ones(4)) == 0.0


def test_a_row_is_judged_by_those_members_alone_that_never_saw_it() -> None:
    scores = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    right, wrong = scores, -100 * scores
    left_out = np.array([[True, True, True, True, False], [False, False, False, False, False]])
    assert out_of_bag(np.array([right, wrong]), left_out, scores, fewest=3) == pytest.approx(1.0)
    assert out_of_bag(np.array([wrong, right]), left_out, scores, fewest=3) == pytest.approx(-1.0)
    assert out_of_bag(np.array([right, wrong]), left_out, scores, fewest=5) == 0.0  # four rows were left out
    both = np.ones_like(left_out)
    assert out_of_bag(np.array([right, wrong]), both, scores, fewest=3) == pytest.approx(-1.0)  # their mean
