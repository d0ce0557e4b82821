"""How long `report` takes for a search of 1,000 trials, and how large its file is.

The memory is that of `benchmarks/memory_queries.py`, with a long reason for each trial and 200 points of loss for each
training. The command is a whole process, its start included; CPU seconds are what to trust on a busy machine.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from memory.connection import opened
from memory_queries import make_memory

ROOT = Path(__file__).parents[1]
REASON = "Because of what was seen: " * 15  # nearly as long as one may be
POINTS = 200


def make_searched(path: Path, trials: int) -> None:
    """The memory, with one search."""
    make_memory(path, trials, 1)
    with opened(path) as db:
        db.conn.execute("DROP TRIGGER proposals_no_update")
        db.conn.execute("UPDATE proposals SET reason = ? WHERE accepted = 1", [REASON])
        rows = [
            (training, 25 * point, 1 / point) for training in range(1, trials + 1) for point in range(1, POINTS + 1)
        ]
        db.conn.executemany("INSERT INTO loss_curves (training, step, loss) VALUES (?, ?, ?)", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        memory, page = Path(folder) / "memory.db", Path(folder) / "report.html"
        make_searched(memory, asked.trials)
        for _ in range(asked.turns):
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            command = [sys.executable, "-m", "agent", "report", "--db", str(memory), "--to", str(page)]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"{time.monotonic() - started:.1f} s, {cpu:.1f} s of CPU, {page.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
