"""Pictures of a rank study: the score over the steps of every spec (the paper's Fig. 2), and ranks against true ranks.

Drawn with matplotlib, which only the development extra brings, from what `agent.study.report` found.
"""

from pathlib import Path
from typing import Any

from scipy.stats import rankdata

from agent.report.pictures import check_matplotlib, pyplot
from agent.study.report import MeasuredStudy
from diffusion.errors import UserError

SIDE_INCHES, DPI = 4.2, 120


def check_plots(folder: Path) -> None:
    """What can be wrong before any work.

    Raises:
        UserError: there is no matplotlib, or the folder cannot be made.
    """
    check_matplotlib(f"--plots {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--plots {folder} cannot be made ({error.strerror}); name another folder") from None


def draw_study(found: MeasuredStudy, folder: Path) -> list[Path]:
    """``NAME-curves.png`` and ``NAME-ranks.png`` in a folder.

    Raises:
        UserError: as `check_plots`.
    """
    check_plots(folder)
    pictures = {"curves": _curves, "ranks": _ranks}
    paths = []
    for name, draw in pictures.items():
        path = folder / f"{found.study}-{name}.png"
        draw(found, path)
        paths.append(path)
    return paths


def true_ranks(found: MeasuredStudy) -> dict[str, float]:
    """The rank of each spec that has a truth, 1 for the best; ties share their mean rank."""
    known = [member for member in found.members if member.truth is not None]
    ranks = rankdata([member.truth for member in known])
    return {member.spec: float(rank) for member, rank in zip(known, ranks, strict=True)}


def rank_pairs(found: MeasuredStudy, arm: str, step: int) -> list[tuple[float, float]]:
    """(true rank, rank by proxy) of each spec that has a truth and does not wait; failed ones share the last rank."""
    waiting = {row.spec for row in found.waiting if row.arm == arm and step in row.steps}
    known = [row for row in found.members if row.truth is not None and row.spec not in waiting]
    values = [row.scores[arm][str(step)] for row in known]
    by_proxy = rankdata([float("inf") if value is None else value for value in values])
    by_truth = rankdata([row.truth for row in known])
    return [(float(true), float(cheap)) for true, cheap in zip(by_truth, by_proxy, strict=True)]


def _panels(count: int) -> Any:
    """A figure with so many panels side by side."""
    return pyplot().subplots(1, count, figsize=(SIDE_INCHES * count, SIDE_INCHES), dpi=DPI, squeeze=False)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path)
    pyplot().close(figure)


def _arms(found: MeasuredStudy) -> dict[str, list[int]]:
    """The proxies with their steps."""
    arms: dict[str, list[int]] = {}
    for row in found.proxies:
        arms.setdefault(row.arm, []).append(row.step)
    return arms


def _curves(found: MeasuredStudy, path: Path) -> None:
    """One line a spec, coloured by its true rank; a failed score leaves a gap."""
    from matplotlib import colormaps

    arms, ranks = _arms(found), true_ranks(found)
    figure, axes = _panels(len(arms))
    for panel, (arm, steps) in zip(axes[0], arms.items(), strict=True):
        for member in found.members:
            values = [member.scores[arm][str(step)] for step in steps]
            rank = ranks.get(member.spec)
            colour = "lightgrey" if rank is None else colormaps["viridis"]((rank - 1) / max(1, len(ranks) - 1))
            points = [float("nan") if value is None else value for value in values]
            panel.plot(steps, points, marker="o", markersize=3, linewidth=1, color=colour)
        panel.set_xticks(steps)
        panel.set_yscale("log")
        panel.set_xlabel("training steps")
        panel.set_ylabel(found.metric)
        panel.set_title(f"{arm}: dark is truly good, light is bad", fontsize=9)
        panel.grid(alpha=0.3)
    _save(figure, path)


def _ranks(found: MeasuredStudy, path: Path) -> None:
    """A point a spec, the proxy's rank over the true one."""
    arms = _arms(found)
    figure, axes = _panels(len(arms))
    for panel, (arm, steps) in zip(axes[0], arms.items(), strict=True):
        pairs = rank_pairs(found, arm, steps[-1])
        panel.scatter([true for true, _ in pairs], [cheap for _, cheap in pairs], s=18)
        panel.plot([1, max(len(pairs), 2)], [1, max(len(pairs), 2)], linewidth=0.8, color="grey")
        row = next(row for row in found.proxies if row.arm == arm and row.is_end)
        tau = row.kendall
        said = "" if tau is None else f": tau-b {tau.value:.2f} ({tau.low:.2f} to {tau.high:.2f})"
        panel.set_title(f"{arm}, step {steps[-1]}{said}", fontsize=9)
        panel.set_xlabel("true rank (1 is the best)")
        panel.set_ylabel("rank by proxy")
        for axis in (panel.xaxis, panel.yaxis):
            axis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
    _save(figure, path)
