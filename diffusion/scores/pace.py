"""``python -m diffusion.scores.pace --job pace.json``: how fast a feature network is here, in its own process.

The line ``done`` holds ``seconds_an_image``, of the second of two batches of noise, or null where weights that are
neither here nor to be downloaded for this would be needed.
"""

import sys
import time

from diffusion.settings import PaceJob
from diffusion.training.child import Lines, Stop, run_child


def measure(text: str, lines: Lines, stop: Stop) -> bool:
    """Compute the features of two batches of noise."""
    import numpy as np
    import torch
    from accelerate import Accelerator

    from diffusion.scores.fid import Extractor
    from diffusion.scores.inception import is_here
    from diffusion.scores.networks import LATENTS

    job = PaceJob.model_validate_json(text)
    if job.feature_network == "inception-v3-compat" and not is_here(job.feature_weights):
        lines.emit("done", seconds_an_image=None)
        return True
    torch.set_num_threads(job.threads)
    extractor = Extractor(job.feature_network, str(Accelerator().device), job.feature_weights)
    noise = np.random.default_rng(0).integers(0, 256, (extractor.batch_size, *job.shape))
    images = noise.astype(np.float32 if job.feature_network == LATENTS else np.uint8)  # (n, C, R, R)
    extractor(images)
    started = time.monotonic()
    extractor(images)
    lines.emit("done", seconds_an_image=(time.monotonic() - started) / len(images))
    return True


if __name__ == "__main__":
    sys.exit(run_child(measure))
