"""A small network trained on the real CIFAR-10, scored at several steps: does the score follow the training?

``python benchmarks/cifar10_curve.py --data-dir data --out runs``, with ``data/cifar10.npz`` in place. It types the
product's own commands, so it may be killed and started again: what is trained and scored is not done twice. Prints the
scores, the ratio of the last to the first and Spearman's correlation of step and score, fails beyond the limits that it
names, and draws ``docs/cifar10-curve.png`` and ``docs/cifar10-grid.png`` (with matplotlib, of the dev extra). About two
hours on one core: 33 minutes of training, 18 of features of the real images, some 11 for each score.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

SPEC = "b16-n2-m1.2.2.2-a0010"  # 91M paper MACs
STEPS = (250, 1000, 2000, 3500, 5000)
NAME = "cifar10-small"
LARGEST_RATIO, LARGEST_CORRELATION = 0.6, -0.9
DOCS = Path(__file__).parent.parent / "docs"
SETTINGS = (
    "learning_rate=5e-4", "dropout=0", "diffusion_steps=1000", "warmup_steps=200", "checkpoint_steps=500",
    "horizontal_flips=true", "ema_decay=0.9999",
)  # fmt: skip


def diffnas_agent(*arguments: str) -> str:
    """The standard output of a command; its progress goes to the terminal."""
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def trained(db: Path, out: Path, data_dir: Path) -> int:
    """The trial, trained now, before, or from where it was stopped."""
    if db.exists():
        names = {
            found["name"]: found["state"] for found in json.loads(diffnas_agent("list", "--json", "--db", str(db)))
        }
    else:
        names = {}
    if NAME in names:
        if names[NAME] != "finished":
            diffnas_agent("resume", NAME, "--json", "--db", str(db))
    else:
        options = [part for setting in SETTINGS for part in ("--set", setting)]
        steps = ",".join(map(str, STEPS[:-1]))
        score = ["--feature-network", "efficientnet-lite0", "--sampling-steps", "50", "--num-images", "5000"]
        diffnas_agent(
            "train", SPEC, "--dataset", "cifar10", "--data-dir", str(data_dir), "--name", NAME, "--train-steps",
            str(STEPS[-1]), "--batch-size", "64", "--snapshot-steps", steps, *score, *options,
            "--db", str(db), "--out", str(out), "--json",
        )  # fmt: skip
    rows = json.loads(
        diffnas_agent(
            "memory", "sql", f"SELECT trial FROM results WHERE search_name = '{NAME}'", "--db", str(db), "--json"
        )
    )
    return int(rows[0]["trial"])


def draw(scores: list[dict[str, Any]]) -> None:
    """The scores over the steps, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4), dpi=120)
    axes.plot([found["step"] for found in scores], [found["rfid"] for found in scores], marker="o")
    for found in scores:
        axes.annotate(f"{found['rfid']:.3g}", (found["step"], found["rfid"]), textcoords="offset points", xytext=(4, 6))
    axes.set_xscale("log")
    axes.set_xticks(STEPS, [f"{step:,}" for step in STEPS])
    axes.minorticks_off()
    axes.set_ylim(0, 1.15 * max(found["rfid"] for found in scores))
    axes.margins(x=0.08)
    axes.set_xlabel("training steps (batch 64)")
    axes.set_ylabel(f"{scores[0]['metric']} (5,000 images)", fontsize=9)
    axes.set_title(f"{SPEC} on CIFAR-10: one training, one sampling of each step", fontsize=10)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(DOCS / "cifar10-curve.png")


def main() -> None:
    """Train, score, print, draw; exit code 1 beyond the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--db", type=Path, default=Path("diffnas.db"))
    arguments = parser.parse_args()
    trial = trained(arguments.db, arguments.out, arguments.data_dir)
    scores = [
        json.loads(diffnas_agent("evaluate", str(trial), "--step", str(step), "--db", str(arguments.db), "--json"))
        for step in STEPS
    ]
    for found in scores:
        print(json.dumps({name: found[name] for name in ("step", "rfid", "kid", "precision", "recall", "protocol")}))
    ratio = scores[-1]["rfid"] / scores[0]["rfid"]
    correlation = float(spearmanr(STEPS, [found["rfid"] for found in scores]).statistic)
    print(f"{scores[0]['scored']}")
    print(f"last / first {ratio:.3f}, Spearman(step, score) {correlation:.3f}; {platform.machine()}, {date.today()}")
    draw(scores)
    shutil.copyfile(scores[-1]["grid"], DOCS / "cifar10-grid.png")
    if ratio > LARGEST_RATIO or correlation > LARGEST_CORRELATION:
        sys.exit(f"the score does not follow the training: at most {LARGEST_RATIO} and {LARGEST_CORRELATION} are right")


if __name__ == "__main__":
    main()
