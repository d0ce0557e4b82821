"""Ranks instead of scores, and how well they are predicted for what a predictor has not seen.

341 cells of NAS-Bench-201 sit at 10 % accuracy where all others have 80 to 94: as raw values, or as z-scores, they
would crush what tells the good ones apart.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

Floats = NDArray[np.float64]


def to_ranks(scores: Floats) -> Floats:
    """From 0, the worst, to 1, the best; ties share theirs.  (S,) → (S,)"""
    return np.asarray((rankdata(scores) - 1) / max(len(scores) - 1, 1))


def rank_correlation(predicted: Floats, scores: Floats) -> float:
    """Spearman's ρ; 0 where either side is constant, as nothing is ranked then.  (S,), (S,)"""
    if np.ptp(predicted) == 0 or np.ptp(rankdata(scores)) == 0:
        return 0.0
    return float(spearmanr(predicted, scores).statistic)


def out_of_bag(members: Floats, left_out: NDArray[np.bool_], scores: Floats, fewest: int) -> float:
    """Spearman's ρ of scores and the mean over those members of a bootstrapped ensemble that never saw them.

    Args:
        members: what each member predicts of each row.  (M, B)
        left_out: whether a member never saw a row.  (M, B)
        scores: of the rows, more is better.  (B,)
        fewest: rows that some member never saw; with fewer it is 0, since two always correlate by ±1.
    """
    judged = left_out.any(axis=0)
    if judged.sum() < fewest:
        return 0.0
    weights = left_out[:, judged]
    predicted = (members[:, judged] * weights).sum(axis=0) / weights.sum(axis=0)
    return rank_correlation(predicted, scores[judged])
