"""An executor whose scores are planted: by the order in which specs come, and for the baseline by the training seed."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from diffusion.settings import ScoreJob, TrainJob

BASELINE = {0: 100.0, 1: 102.0, 2: 98.0, 3: 101.0, 4: 99.0}  # by training seed: noise of 2 %
STEPS = 4


class Planted:
    """Scores by spec, in the order in which specs come, and for the baseline by seed."""

    def __init__(self, candidates: tuple[float, ...] = (50.0, 99.0, 200.0)) -> None:
        self.values = (0.0, *candidates)
        self.specs: list[str] = []
        self.trained: list[tuple[str, int]] = []
        self.scored: list[tuple[str, int, int]] = []
        self.seeds: dict[Path, int] = {}
        self.lock = Lock()
        self.before_training: Callable[[str, int], None] = lambda spec, seed: None

    def train(self, job: TrainJob, on_progress: Any) -> dict[str, Any]:
        spec = str(job.spec)
        with self.lock:  # the baseline and its replicas come side by side
            if spec not in self.specs:
                self.specs.append(spec)
        self.before_training(spec, job.seed)
        self.trained.append((spec, job.seed))
        self.seeds[job.run_folder] = job.seed
        return {"event": "done", "step": job.last_step, "loss": 0.5, "device_seconds": 10.0}

    def evaluate(self, job: ScoreJob, on_progress: Any) -> dict[str, Any]:
        place, seed = self.specs.index(str(job.spec)), self.seeds[job.run_folder]
        self.scored.append((str(job.spec), seed, job.sampling_seed))
        value = self.values[place] if place else BASELINE[seed]
        return {"step": STEPS, "metric": "fid-digits-cnn", "value": value, "num_images": 16, "device_seconds": 1.0}

    def kill(self) -> None:
        """Nothing to kill."""
