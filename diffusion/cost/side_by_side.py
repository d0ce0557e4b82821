"""Measures how long two trained networks take for a batch, in turns, as a process of its own.

``python -m diffusion.cost.side_by_side RUN_FOLDER RUN_FOLDER STEP THREADS DEVICE`` prints one JSON line: the median of
each in milliseconds, and the median of the ratios, the second over the first. Taken in turns, what else the machine
does slows both alike.
"""

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

BATCH = 64
WARM_UP, MOST_TURNS, FEWEST_TURNS = 2, 30, 5
SECONDS = 20.0  # after which slow networks have been seen often enough


def measure(networks: tuple[Any, Any], shape: tuple[int, int, int], device: str) -> dict[str, float | int]:
    """Both medians and that of the ratios; `shape` is that of an image (C, R, R)."""
    import torch

    images = torch.randn(BATCH, *shape, device=device)
    steps = torch.zeros(BATCH, dtype=torch.long, device=device)
    turns: list[tuple[float, float]] = []
    with torch.inference_mode():
        for number in range(WARM_UP + MOST_TURNS):
            turn = tuple(_seconds(network, images, steps) for network in networks)
            if number >= WARM_UP:
                turns.append((turn[0], turn[1]))
            if len(turns) >= FEWEST_TURNS and sum(map(sum, turns)) > SECONDS:
                break
    first, second = (1000 * median(each) for each in zip(*turns, strict=True))
    ratio = median(second / first for first, second in turns)
    return {"first_ms": first, "second_ms": second, "ratio": ratio, "turns": len(turns), "batch": BATCH}


def _seconds(network: Any, images: Any, steps: Any) -> float:
    import torch

    started = time.perf_counter()
    network(images, steps)
    if images.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main(folders: tuple[str, str], step: int, threads: int, device: str) -> dict[str, float | int]:
    """The networks of two run folders, with the averaged weights of a step."""
    import torch

    from diffusion.training.checkpoint import ema_model, step_checkpoint

    torch.set_num_threads(threads)
    found = [step_checkpoint(Path(folder), step) for folder in folders]
    assert found[0] and found[1], "both trainings are over"
    first, second = (ema_model(each).to(device) for each in found if each)
    settings = found[0].job.settings
    return measure((first, second), (settings.channels, settings.resolution, settings.resolution), device)


if __name__ == "__main__":
    one, other, at, threads, device = sys.argv[1:]
    print(json.dumps(main((one, other), int(at), int(threads), device)))
