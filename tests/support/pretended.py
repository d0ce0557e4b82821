"""An executor that computes nothing: its results are functions of the job. For tests about what is remembered and said.

What is trained and scored for real is tested elsewhere, with `inprocess`; a real trial takes two seconds.
"""

from pathlib import Path
from typing import Any

from diffusion.settings import ScoreJob, TrainJob


class PretendedExecutor:
    """Trains at once, and scores better the wider a spec is; counts its jobs as `inprocess` does."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.evaluated = 0
        self.seeds: dict[Path, int] = {}

    def train(self, job: TrainJob, on_progress: Any) -> dict[str, Any]:
        self.trained.append(str(job.spec))
        self.seeds[job.run_folder] = job.seed
        return {"event": "done", "step": job.last_step, "loss": 0.5, "device_seconds": 0.1 + 0.2}

    def evaluate(self, job: ScoreJob, on_progress: Any) -> dict[str, Any]:
        self.evaluated += 1
        score = job.protocol.score
        noise = job.sampling_seed / 7 + self.seeds.get(job.run_folder, 0) / 70
        return {
            "event": "done",
            "step": job.protocol.strategy.train_steps,
            "metric": score.metric,
            "value": 100.0 / sum(job.spec.row) + noise,
            "num_images": score.num_images,
            "device_seconds": 1 / 3,
        }

    def kill(self) -> None:
        """Nothing to kill."""
