"""What stands beside the Fréchet distance: the kernel distance (KID), and precision and recall.

Both are torch-fidelity's, on features of `diffusion.scores.fid` and with its conventions fixed here. They look at no
more than `MOST_COMPARED` images of each side, evenly spaced, since distances between all pairs of 50,000 would fill 20
GB; the Fréchet distance itself looks at all. Both are deterministic. Neither decides which network is better.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

MOST_COMPARED = 10_000

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000  # with 100 subsets: torch-fidelity's defaults, after Bińkowski et al. 2018
KID_SEED = 2020  # torch-fidelity's default

NEIGHBOURS = 3  # Kynkäänniemi et al. 2019, Section 3
ROWS_AT_ONCE = 1000  # 80 MB of distances to 10,000 others


@dataclass(frozen=True)
class KernelDistance:
    """A squared maximum mean discrepancy, as it is and not times 1,000, and its deviation over the subsets.

    Of up to 1,000 images the only subset is the whole set, and the deviation is 0: it then tells nothing about noise.
    """

    mean: float
    std: float


@dataclass(frozen=True)
class PrecisionRecall:
    """The share of generated images that look real, and of real images that could have been generated."""

    precision: float
    recall: float


def evenly_spaced(count: int) -> NDArray[np.int64]:
    """The indices of those of `count` images that are compared, spread over all: folders are sorted by class."""
    kept = min(count, MOST_COMPARED)
    return np.arange(kept) * count // max(kept, 1)  # (≤ 10,000,)


def kernel_distance(generated: NDArray[Any], real: NDArray[Any]) -> KernelDistance:  # (N, F), (M, F)
    """KID (Bińkowski et al. 2018, "Demystifying MMD GANs"): unbiased MMD² under the kernel (x·y / F + 1)³.

    The mean over 100 random subsets of 1,000, or of all when there are fewer. Unbiased, so it may fall below zero.
    """
    ours, theirs = _compared(generated), _compared(real)
    size = min(KID_SUBSET_SIZE, len(ours), len(theirs))
    found = kid_features_to_metric(
        ours,
        theirs,
        kid_subset_size=size,
        kid_subsets=1 if size == len(ours) == len(theirs) else KID_SUBSETS,
        rng_seed=KID_SEED,
        verbose=False,
    )
    return KernelDistance(found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD])


def precision_recall(generated: NDArray[Any], real: NDArray[Any]) -> PrecisionRecall:  # (N, F), (M, F)
    """Improved precision and recall (Kynkäänniemi et al. 2019): who lies within the third neighbour of the others?

    In double precision, since distances within a set far from the other are small beside the features themselves.
    """
    ours, theirs = _compared(generated), _compared(real)
    found = prc_features_to_metric(
        ours,
        theirs,
        prc_neighborhood=min(NEIGHBOURS, len(ours) - 1, len(theirs) - 1),
        prc_batch_size=ROWS_AT_ONCE,
        save_cpu_ram=True,
        verbose=False,
    )
    return PrecisionRecall(found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL])


def _compared(features: NDArray[Any]) -> torch.Tensor:  # (N, F) → (≤ 10,000, F)
    return torch.from_numpy(features[evenly_spaced(len(features))].astype(np.float64))
