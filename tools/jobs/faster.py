"""How much faster a student is than its teacher: measured once for a device and a number of threads, kept in a file."""

import json
import sys

from diffusion.cost.throughput import device_name
from memory.trials import Trial
from tools.context import SearchContext
from tools.gates.latency import said_by

NAMES = ("first_ms", "second_ms", "ratio", "turns", "batch")


def latencies(context: SearchContext, teacher: Trial, student: Trial) -> dict[str, float]:
    """The milliseconds of both for a batch (`diffusion.cost.side_by_side`), and their ratio.

    Raises:
        JobFailed: they could not be measured.
    """
    from diffusion.training.checkpoint import write_json  # with torch

    share, steps = context.jobs.share, context.limits.protocol.strategy.train_steps
    device = "cuda:0" if share.device == "cuda" else "cpu"
    path = student.run_folder / f"latency-{_plain(device_name(device))}-{share.threads}.json"
    if not path.exists():
        folders = [str(teacher.run_folder), str(student.run_folder)]
        asked = [*folders, str(steps), str(share.threads), share.device]
        command = [sys.executable, "-m", "diffusion.cost.side_by_side", *asked]
        write_json(path, said_by(command, str(share.threads), f"how fast trial {student.id} is", NAMES))
    read: dict[str, float] = json.loads(path.read_text())
    return read


def _plain(name: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in name)
