"""A comparison for people: a table of searchers, the pairs that can be told apart, and one picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from agent.compare.report import Compared, Curve, Mean, SearcherFigures
from agent.report.pictures import check_matplotlib, pyplot
from agent.report.tables import say
from diffusion.errors import UserError

HEADINGS = ("tried one of the best 1 %", "of the best 5 %", "recommends", "diversity", "refused", "s of its own")
WIDTH_INCHES, HEIGHT_INCHES, DPI = 11.0, 4.4, 130
STYLES = ("-", (0, (6, 2)), (0, (2, 1)))  # so that of two equal lines both are seen


def percent(value: Mean, digits: int = 1) -> str:
    """A mean with its interval, in per cent."""
    if value.low is None or value.high is None:
        return f"{value.mean:.{digits}%}"
    return f"{value.mean:.{digits}%} ({100 * value.low:.{digits}f} to {100 * value.high:.{digits}f})"


def print_compared(console: Console, found: Compared) -> None:
    """What was compared, what came of it, and what may be said."""
    judged = "means over the table's seeds" if found.is_noise_free else "the scores that the searches were shown"
    where = f", on {found.bench}" if found.bench else ""
    say(
        console,
        f"{found.comparison}: {len(found.seeds)} seeds, {found.rounds} evaluations after the baseline's{where}; "
        f"memory: {found.memory}.",
    )
    say(console, f"Regret by {judged}: how much worse the best network tried is than the best of {found.networks}.")
    marks = list(found.searchers[0].regret)
    table = Table("searcher")
    for heading in (*(f"regret after {mark}" for mark in marks), *HEADINGS):
        table.add_column(heading, justify="right")
    for each in found.searchers:
        table.add_row(each.searcher, *_cells(each, marks))
    if found.chance:
        table.add_row("chance (expected)", *(f"{found.chance[mark]:.1%}" for mark in marks), *[""] * len(HEADINGS))
    console.print(table)
    _say_pairs(console, found, marks[-1])
    if found.waiting:
        say(console, f"{found.waiting} searches are not over; go on by the same command.")


def _cells(found: SearcherFigures, marks: list[int]) -> Iterator[str]:
    """The row of a searcher."""
    yield from (percent(found.regret[mark]) for mark in marks)
    for one in found.reached:
        after = "" if one.evaluations is None else f", after {one.evaluations:g}"
        yield f"{one.reached} of {found.seeds}{after}"
    yield percent(found.recommended)
    yield from (f"{found.diversity.mean:.1f}", f"{found.refusals:.1f}", f"{found.own_seconds.mean:.1f}")


def _say_pairs(console: Console, found: Compared, mark: int) -> None:
    """Who may be called better than whom at the last mark."""
    pairs = [pair for pair in found.pairs if pair.evaluations == mark]
    for pair in pairs:
        if pair.better:
            worse = pair.b if pair.better == pair.a else pair.a
            say(console, f"{pair.better} is better than {worse} after {mark} (p = {pair.p_corrected:.2g}, corrected).")
    undecided = sum(pair.better is None for pair in pairs)
    if undecided:
        say(console, f"{undecided} of {len(pairs)} pairs cannot be told apart after {mark}.")


def check_plot(path: Path) -> None:
    """What can be wrong before any work.

    Raises:
        UserError: there is no matplotlib, or the place cannot be written.
    """
    check_matplotlib(f"--plot {path}")
    if not path.parent.is_dir() or path.suffix not in (".png", ".svg", ".pdf"):
        raise UserError(f"--plot {path} cannot be drawn; name a .png, .svg or .pdf in a folder that is there")


def draw(found: Compared, path: Path) -> None:
    """Regret over evaluations and over device-seconds, with intervals."""
    plot, size = pyplot(), (WIDTH_INCHES, HEIGHT_INCHES)
    figure, panels = plot.subplots(1, 2, figsize=size, dpi=DPI, sharey=True, layout="constrained")
    for number, each in enumerate(found.searchers):
        for panel, curve in zip(panels, (each.by_evaluations, each.by_device_seconds), strict=True):
            _line(panel, curve, each.searcher, f"C{number % 10}", STYLES[number % len(STYLES)])
    if found.chance:
        expected = [100 * value for value in found.chance.values()]
        panels[0].plot([*found.chance], expected, "kx", label="chance (expected)", zorder=3)
    panels[0].set_xlabel("evaluations after the baseline")
    panels[1].set_xlabel("device-seconds")
    panels[0].set_ylabel("regret, %")
    panels[0].set_yscale("symlog", linthresh=1)
    panels[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for panel in panels:
        panel.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.suptitle(f"{found.comparison}: mean over {len(found.seeds)} seeds with 95 % intervals", fontsize=10)
    figure.savefig(path)
    plot.close(figure)


def _line(panel: "object", curve: Curve, name: str, colour: str, style: Any) -> None:
    from matplotlib.axes import Axes

    assert isinstance(panel, Axes)
    values = [100 * value for value in curve.mean]
    panel.step(curve.at, values, where="post", linewidth=1.5, linestyle=style, color=colour, label=name)
    if None not in (*curve.low, *curve.high):
        low, high = ([100 * value for value in side if value is not None] for side in (curve.low, curve.high))
        panel.fill_between(curve.at, low, high, color=colour, alpha=0.1, linewidth=0, step="post")
