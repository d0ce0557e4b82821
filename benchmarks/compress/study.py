"""Every way to compress one teacher, side by side, by the command that people type.

``python benchmarks/compress/study.py --out FOLDER TEACHER`` runs ``diffnas-agent compress`` for each way of `WAYS` in
FOLDER, one after the other, and prints the table of docs/compress.md: the student's part of the teacher's costs, its
score with its interval, the ratio of both scores with its interval, and the device-seconds of the search and of a
training. What is done is not done again, and a way that was interrupted is resumed. What follows ``--`` goes to every
command, such as ``--train-steps 600``. TEACHER is what `compress` takes; ``--ways`` names some of the ways.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WAYS: dict[str, tuple[str, ...]] = {
    "blockwise": (),
    "blockwise, supernets": ("--supernet-steps", "250"),
    "blockwise by supernets, teacher's slices": ("--supernet-steps", "250", "--start", "teacher"),
    "blockwise, random weights": ("--start", "random"),
    "blockwise, β fixed at 0.5": ("--beta", "0.5"),
    "blockwise, noise alone": ("--beta", "1"),
    "blockwise, β linear": ("--ramp", "linear"),
    "blockwise, β by a cosine": ("--ramp", "cosine"),
    "global": ("--method", "global"),
    "random": ("--method", "random"),
    "random, noise alone": ("--method", "random", "--beta", "1"),
    "magnitude": ("--method", "magnitude"),
    "magnitude, joint loss": ("--method", "magnitude", "--beta", "0..1"),
    "torch-pruning": ("--method", "torch-pruning"),
    "scratch": ("--method", "scratch"),
}
HEAD = ("way", "MACs", "params", "latency", "score", "95 %", "student / teacher", "95 %", "search, s", "training, s")


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ways", default=";".join(WAYS), help="names of ways, between semicolons")
    parser.add_argument("teacher")
    own, more = _split(sys.argv[1:])
    asked = parser.parse_args(own)
    print(table(asked.out, asked.teacher, asked.ways.split(";"), more))


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is the study's own, and what follows ``--``."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return list(arguments[:at]), list(arguments[at + 1 :])


def table(out: Path, teacher: str, ways: Sequence[str], more: Sequence[str]) -> str:
    """The table in Markdown, after all that it needs was done."""
    rows = [HEAD, ("---",) * len(HEAD)]
    for way in ways:
        events = [json.loads(line) for line in played(out, teacher, way, more).read_text().splitlines()]
        last = events[-1]
        if len(rows) == 2:
            its = last["teacher"]
            rows.append(("teacher", "", "", "", _number(its["score"]), _interval(its["ci95"]), "", "", "", ""))
        rows.append(row(way, events))
    return "\n".join("| " + " | ".join(each) + " |" for each in rows)


def played(out: Path, teacher: str, way: str, more: Sequence[str]) -> Path:
    """The file with the events of a way, which is whole once it is there."""
    name = "".join(char if char.isalnum() else "-" for char in way.replace("β", "beta")).strip("-")
    path, part = out / f"{name}.jsonl", out / f"{name}.part"
    while not path.exists():
        command = ["compress", teacher, "--seeds", "3", "--name", name, *WAYS[way], *more]
        if part.exists() and part.stat().st_size:
            command = ["resume", name]
        with part.open("a") as file:
            done = subprocess.run(
                [sys.executable, "-m", "agent", *command, "--json"], cwd=out, stdout=file, check=False
            )
        if done.returncode or not _ended(part):
            raise SystemExit(f"{way} ended with {done.returncode}; run this again to go on")
        part.rename(path)
    return path


def _ended(part: Path) -> bool:
    lines = part.read_text().splitlines()
    return bool(lines) and json.loads(lines[-1])["event"] == "compress.finished"


def row(way: str, events: list[dict[str, Any]]) -> tuple[str, ...]:
    """One way in the table."""
    last, student = events[-1], events[-1]["student"]
    search = sum(event["device_seconds"] for event in events if event["event"] == "compress.searched")
    trained = [event["device_seconds"] for event in events if event["event"] == "trial.trained"]
    latency = f"{last['latency']['ratio']:.2f}" if last["latency"] else ""
    return (
        way,
        f"{last['macs_share']:.1%}",
        f"{last['params_share']:.1%}",
        latency,
        _number(student["score"]),
        _interval(student["ci95"]),
        f"{last['ratio']:.3f}",
        _interval(last["ratio_ci95"], 3),
        f"{search:.0f}",
        f"{sum(trained) / len(trained):.0f}" if trained else "",
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _interval(ends: Sequence[float] | None, digits: int = 2) -> str:
    return "" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"


if __name__ == "__main__":
    main()
