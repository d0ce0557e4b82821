"""Measures how long a network takes for one image, as a process of its own, so that nothing else is in its way.

``python -m diffusion.cost.latency SPEC SETTINGS_JSON THREADS DEVICE`` prints one JSON line: the median of repeated
forward passes at batch 1, in milliseconds, after a warm-up. Weights are untrained: their values do not change the time.
The time of a whole sampling, or of larger batches, is not measured.
"""

import json
import sys
import time
from statistics import median

from diffusion.settings import Settings
from diffusion.spec import UNetSpec

WARM_UP = 5  # the first passes choose kernels and allocate
MOST_FORWARDS, FEWEST_FORWARDS = 50, 5
SECONDS = 10.0  # after which a slow network has been seen often enough


def measure(spec: UNetSpec, settings: Settings, threads: int, device: str) -> dict[str, float | int]:
    """The median time of a forward pass, and how many were taken."""
    import torch

    from diffusion.unet import build_unet

    torch.set_num_threads(threads)
    model = build_unet(spec, settings).to(device).eval()
    side = settings.resolution
    image = torch.randn(1, settings.channels, side, side, device=device)  # (1, C, R, R)
    step = torch.zeros(1, dtype=torch.long, device=device)
    times: list[float] = []
    with torch.inference_mode():
        for number in range(WARM_UP + MOST_FORWARDS):
            started = time.perf_counter()
            model(image, step)
            if device == "cuda":
                torch.cuda.synchronize()
            if number >= WARM_UP:
                times.append(time.perf_counter() - started)
            if len(times) >= FEWEST_FORWARDS and sum(times) > SECONDS:
                break
    return {"median_ms": 1000 * median(times), "forwards": len(times)}


if __name__ == "__main__":
    asked = sys.argv[1:]
    found = measure(UNetSpec.parse(asked[0]), Settings.model_validate_json(asked[1]), int(asked[2]), asked[3])
    print(json.dumps(found))
