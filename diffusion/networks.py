"""Which specs are one network. Channels are base × multiplier, so ``b16-n1-m2.1.1.1-a0010`` and
``b8-n1-m4.2.2.2-a0010`` build the same one, and training both would measure one thing twice.

A network is its widths, its blocks, its attention and, for `iddpm` alone, the width of its attention heads. Specs are
spellings of it. This module imports no torch.
"""

from math import gcd, prod
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

from diffusion.settings import Family
from diffusion.space import SearchSpace
from diffusion.spec import MAX_BASE, MAX_MULTIPLIER, Rows, UNetSpec, stages_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Networks: TypeAlias = "NDArray[np.int64]"  # (N, 2 + 2 stages): blocks, widths, attention and head width
HEAD_WIDTH = 32  # of iddpm's attention, or the largest power of two below it that divides the base channels


COUNTED = 1_000  # specs of a huge space whose spellings are counted


def head_width(spec: UNetSpec) -> int:
    """Channels of each attention head of `iddpm`."""
    return gcd(spec.base_channel, HEAD_WIDTH)


def network(spec: UNetSpec, family: Family) -> str:
    """The one name of a network, whatever its spelling: ``w16.32.32.32-n1-a0100``, for `iddpm` with ``-h16``."""
    bits = "".join(str(int(flag)) for flag in spec.attn)
    head = f"-h{head_width(spec)}" if family == "iddpm" else ""
    return f"w{spec.widths}-n{spec.num_blocks}-a{bits}{head}"


def networks(rows: Rows, family: Family) -> Networks:
    """Blocks, widths, attention and head width of each row; equal rows are one network.  (N, 2 + 2 S) → (N, 2 + 2 S)"""
    import numpy as np  # where many are counted: who shows one goes without

    stages = stages_of(rows)
    heads = np.gcd(rows[:, :1], HEAD_WIDTH) if family == "iddpm" else np.zeros_like(rows[:, :1])
    return np.hstack([rows[:, 1:2], rows[:, :1] * rows[:, 2 : 2 + stages], rows[:, 2 + stages :], heads])


def distinct(rows: Rows, family: Family) -> Rows:
    """One spelling of each network, that of the widest base, in the order of the rows.  (N, k) → (M, k)"""
    import numpy as np

    if not len(rows):
        return rows
    by_base = np.argsort(-rows[:, 0], kind="stable")
    found = networks(rows[by_base], family)
    spans = tuple((found.max(axis=0) + 1).tolist())
    if prod(spans) < 2**63:  # sorting one number a row is ten times faster than sorting rows
        _, first = np.unique(np.ravel_multi_index(tuple(found.T), spans), return_index=True)
    else:
        _, first = np.unique(found, axis=0, return_index=True)
    return rows[np.sort(by_base[first])]


def spellings(spec: UNetSpec, family: Family) -> tuple[UNetSpec, ...]:
    """Every spec that builds the network of a spec, the widest base first."""
    common, name = gcd(*spec.channels), network(spec, family)
    bases = [base for base in range(common, 0, -1) if common % base == 0 and base % 4 == 0 and base <= MAX_BASE]
    found = []
    for base in bases:
        multipliers = tuple(width // base for width in spec.channels)
        if max(multipliers) <= MAX_MULTIPLIER:
            found.append(spec.model_copy(update={"base_channel": base, "channel_mult": multipliers}))
    return tuple(each for each in found if network(each, family) == name)


def spellings_in(space: SearchSpace, spec: UNetSpec, family: Family) -> list[UNetSpec]:
    """Those of a network's spellings that a space has, the widest base first."""
    return [each for each in spellings(spec, family) if space.why_not(each) is None]


def networks_in(space: SearchSpace, family: Family) -> int:
    """How many networks a space holds; of a huge one about how many, by how often those of a sample are spelled."""
    if space.is_enumerable:
        return len(distinct(space.rows(), family))
    sample = map(UNetSpec.from_row, space.rows()[:COUNTED])
    spelled = (len(spellings_in(space, spec, family)) for spec in sample)
    return round(space.size * fmean(1 / often for often in spelled))
