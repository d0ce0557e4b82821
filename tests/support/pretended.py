"""An executor that computes nothing: its results are functions of the job. For tests about what is remembered and said.

What is trained and scored for real is tested elsewhere, with `inprocess`.
"""

from typing import Any

from diffusion.settings import ScoreJob, TrainJob


class PretendedExecutor:
    """Trains at once, and scores better the wider a spec is; `trained` lists the specs."""

    def __init__(self) -> None:
        self.trained: list[str] = []

    def train(self, job: TrainJob, on_progress: Any) -> dict[str, Any]:
        self.trained.append(str(job.spec))
        return {"event": "done", "step": job.last_step, "loss": 0.5, "device_seconds": 0.1 + 0.2}

    def evaluate(self, job: ScoreJob, on_progress: Any) -> dict[str, Any]:
        score = job.protocol.score
        return {
            "event": "done",
            "step": job.protocol.strategy.train_steps,
            "metric": score.metric,
            "value": 100.0 / sum(job.spec.row) + job.sampling_seed / 7,
            "num_images": score.num_images,
            "device_seconds": 1 / 3,
        }

    def kill(self) -> None:
        """Nothing to kill."""
