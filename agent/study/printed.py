"""Table II of the DiffNAS paper (arXiv 2310.04750) as it is printed: how well two strategies rank after some steps."""

from typing import Literal, NamedTuple


class PrintedRow(NamedTuple):
    """A row with its digits as they are printed: some are cut, some rounded, so they stay text."""

    strategy: Literal["standard", "rapid"]
    train_steps: int  # the paper writes W for ten thousand
    spearman: str
    pearson: str
    kendall: str


TABLE_2 = (
    PrintedRow("standard", 30_000, "0.533", "0.533", "0.444"),
    PrintedRow("standard", 50_000, "0.816", "0.816", "0.667"),
    PrintedRow("standard", 100_000, "0.95", "0.95", "0.833"),
    PrintedRow("rapid", 30_000, "0.892", "0.892", "0.714"),
    PrintedRow("rapid", 50_000, "0.964", "0.964", "0.904"),
)
