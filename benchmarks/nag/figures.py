"""After Figures 2 to 4 of DiffusionNAG, for docs/diffusionnag.md.

``python benchmarks/nag/figures.py distribution --table CSV --score runs-nag/table3.safetensors --out FILE.png`` draws
how test accuracies are spread of 1,000 cells that are drawn at random, chosen among unconditional samples, or generated
with guidance (the samples of Table 3, seed 0). ``… regret --table CSV --traces runs-nag/bo.jsonl --out FILE.png`` draws
the mean regret over evaluations with 95 % intervals, of the optimisers and acquisition functions in question.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

import bo_study
import table3
from diffusion.statistics.paired import mean_intervals
from landscape import Landscape
from records import Records

SIZE_INCHES, DPI = (9.0, 3.6), 130
DRAWN = ("random", "unconditional + sorting", "guided")
SAMPLES = 1_000
BINS = 60
LOWEST = {"cifar10": 85.0, "cifar100": 50.0}  # what lies below is a bar at the left edge, and said in the legend


def distribution(table: Path, score: Path, steps: int, samples: int, out: Path) -> None:
    """The samples of Table 3, whose scale and predictor are its own."""
    network = table3.score_network(score, steps)
    figure, panels = pyplot.subplots(1, 2, figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    for panel, data_set in zip(panels, table3.SETS, strict=True):
        for row in DRAWN:
            key = table3.Key(data_set, row, 0, samples, table3.SCALE)
            cells = [cell for cell in table3.drawn(key, table, network) if cell]
            _spread(panel, table3.results(table).of(f"{data_set}_test", cells), row, data_set)
        panel.set_xlabel(f"test accuracy on {data_set}, %")
        panel.legend(fontsize=7, loc="upper left")
    panels[0].set_ylabel("share of the cells, %")
    figure.savefig(out)
    pyplot.close(figure)


def _spread(panel: Any, accuracies: NDArray[np.float64], row: str, data_set: str) -> None:
    low = LOWEST[data_set]
    below = float((accuracies < low).mean())
    shown = np.clip(accuracies, low, None)
    edges = np.linspace(low, bo_study.ORACLE[data_set] + 0.01, BINS + 1)
    weights = np.full(len(shown), 100 / len(shown))
    said = f"{row}: mean {accuracies.mean():.2f}" + (f", {below:.0%} below {low:g}" if below else "")
    panel.hist(shown, bins=edges, weights=weights, histtype="step", linewidth=1.4, label=said)


def regret(table: Path, traces: Path, out: Path) -> None:
    """The pairs in question, on the seeds that each has."""
    found, landscape = Records(traces, bo_study.Trace).all, Landscape.read(table)
    figure, panels = pyplot.subplots(1, 2, figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    for panel, data_set in zip(panels, bo_study.STUDIED, strict=True):
        curves = bo_study.regrets(found, data_set, float(landscape.test(data_set).max()))
        for number, name in enumerate(bo_study.IN_QUESTION):
            for acquisition, style in zip(bo_study.ACQUISITIONS_IN_QUESTION, ("-", "--"), strict=True):
                if seeds := curves.get((name, acquisition)):
                    stacked = np.array(list(seeds.values()))
                    _curve(panel, stacked, f"{name}, {acquisition.upper()}", f"C{number}", style)
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.set_xlabel(f"evaluations on {data_set}")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("regret of test accuracy, points")
    panels[1].legend(fontsize=7)
    figure.savefig(out)
    pyplot.close(figure)


def _curve(panel: Any, regrets: NDArray[np.float64], label: str, colour: str, style: str) -> None:
    at, intervals = np.arange(1, regrets.shape[1] + 1), mean_intervals(regrets)
    panel.plot(at, [each.mean for each in intervals], style, color=colour, linewidth=1.4, label=label)
    if all(each.low is not None for each in intervals):
        low, high = [each.low for each in intervals], [each.high for each in intervals]
        panel.fill_between(at, low, high, color=colour, alpha=0.1, linewidth=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=["distribution", "regret"])
    parser.add_argument("--table", type=Path, required=True, help="the CSV file of NAS-Bench-201's results")
    parser.add_argument("--score", type=Path, default=Path("runs-nag/table3.safetensors"), help="trained if missing")
    parser.add_argument("--steps", type=int, default=table3.ScoreTraining().steps, help="of its training")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--traces", type=Path, default=Path("runs-nag/bo.jsonl"))
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    mpl.use("agg")
    if asked.figure == "distribution":
        distribution(asked.table, asked.score, asked.steps, asked.samples, asked.out)
    else:
        regret(asked.table, asked.traces, asked.out)


if __name__ == "__main__":
    main()
