"""``/plot``: the best score so far over the rounds, drawn in characters, or with matplotlib into a PNG file."""

from pathlib import Path

from rich.text import Text

from agent.report.pictures import check_matplotlib, pyplot
from agent.report.trials import TrialRow
from agent.report.words import NO_SCORE
from diffusion.errors import UserError

HEIGHT = 10  # lines of the curve
WIDEST, NARROWEST = 60, 10  # columns of the curve
LABEL = 9  # columns of a score beside it
TRIAL, BEST = "o", "_"
STYLES = {TRIAL: "cyan", BEST: "green"}  # colour says nothing that the characters do not


def best_so_far(ranking: list[TrialRow]) -> list[tuple[int, float, float]]:
    """(round, score, best score up to it) of every scored trial, in the order of the rounds."""
    found: list[tuple[int, float, float]] = []
    for row in sorted(ranking, key=lambda row: row.round):
        if (score := row.rfid) is not None:
            found.append((row.round, score, min(score, found[-1][2]) if found else score))
    return found


def in_words(ranking: list[TrialRow]) -> list[str]:
    """The same in words, a line for each trial, for who reads no pictures."""
    points = best_so_far(ranking)
    lines = [
        f"round {number}: {score:.4g}" + (", the best so far" if score == best else f"; best so far {best:.4g}")
        for number, score, best in points
    ]
    return lines or [NO_SCORE]


def drawn(ranking: list[TrialRow], columns: int) -> list[Text]:
    """The lines of the picture in a terminal so many columns wide."""
    points = best_so_far(ranking)
    if not points:
        return [Text(NO_SCORE)]
    width = max(NARROWEST, min(WIDEST, columns - LABEL - 2))
    first, last = points[0][0], points[-1][0]
    low, high = (pick(score for _, score, _ in points) for pick in (min, max))
    grid = [[" "] * width for _ in range(HEIGHT)]

    def row_of(score: float) -> int:
        return round((high - score) / (high - low) * (HEIGHT - 1)) if high > low else HEIGHT - 1

    def column_of(number: int) -> int:
        return round((number - first) / (last - first) * (width - 1)) if last > first else 0

    for index, (number, _, best) in enumerate(points):
        until = column_of(points[index + 1][0]) if index + 1 < len(points) else column_of(number) + 1
        for column in range(column_of(number), until):
            grid[row_of(best)][column] = BEST
    for number, score, _ in points:
        grid[row_of(score)][column_of(number)] = TRIAL
    return [*_labelled(grid, low, high), *_feet(points, width)]


def _labelled(grid: list[list[str]], low: float, high: float) -> list[Text]:
    labels = {0: f"{high:.4g}", HEIGHT - 1: f"{low:.4g}"}
    lines = []
    for number, row in enumerate(grid):
        line = Text(f"{labels.get(number, ''):>{LABEL}} |")
        for character in "".join(row).rstrip():
            line.append(character, STYLES.get(character))
        line.rstrip()
        lines.append(line)
    return lines


def _feet(points: list[tuple[int, float, float]], width: int) -> list[Text]:
    start, end = f"{points[0][0]}", f"{points[-1][0]}"
    axis = start + end.rjust(max(1, width - len(start))) if len(points) > 1 else start
    signs = Text.assemble("round; ", (TRIAL, STYLES[TRIAL]), " trial, ", (BEST, STYLES[BEST]), " best so far")
    return [Text(" " * LABEL + " +" + "-" * width), Text(" " * (LABEL + 2) + axis), signs]


def check_picture(path: Path) -> None:
    """What can be wrong before anything is drawn.

    Raises:
        UserError: it is no PNG file, there is no matplotlib, or its folder does not exist.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"'{path}' is not a PNG file; write /plot or /plot NAME.png")
    check_matplotlib(f"'{path}'", ", or write /plot alone")
    if not path.absolute().parent.is_dir():
        raise UserError(f"'{path}' cannot be made: its folder does not exist; make it or name another file")


def draw_png(ranking: list[TrialRow], path: Path) -> None:
    """The same picture as a file.

    Raises:
        UserError: as `check_picture`, or no trial has a score yet.
    """
    check_picture(path)
    points = best_so_far(ranking)
    if not points:
        raise UserError(f"'{path}' would be empty: no trial has a score yet")
    plot = pyplot()
    figure, axis = plot.subplots(figsize=(6, 4), dpi=120)
    rounds = [number for number, _, _ in points]
    axis.plot(rounds, [score for _, score, _ in points], "o", markersize=4, label="trial")
    axis.step(rounds, [best for _, _, best in points], where="post", label="best so far")
    axis.set_xlabel("round")
    axis.set_ylabel(f"{ranking[0].metric} (lower is better)")
    axis.legend()
    figure.tight_layout()
    figure.savefig(path)
    plot.close(figure)
