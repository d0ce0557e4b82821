"""The program with planted scores instead of trainings, as a process: ``python planted_agent.py run …``.

Everything else is real: the command line, the memory, the loop, the model's answers over HTTP.
"""

import time
from threading import Event
from typing import Any

from planted import Planted

from agent.cli.main import main
from agent.search import wiring

SECONDS = 0.5  # of a training, so that there is time to say something meanwhile


class Slowly(Planted):
    """Scores that take a moment."""

    def __init__(self, stop: Event) -> None:
        super().__init__(tuple(50.0 + number for number in range(200)))

    def train(self, job: Any, on_progress: Any) -> dict[str, Any]:
        time.sleep(SECONDS)
        return super().train(job, on_progress)

    def evaluate(self, job: Any, on_progress: Any) -> dict[str, Any]:
        self.seeds.setdefault(job.run_folder, 0)  # trained by a process before this one
        if str(job.spec) not in self.specs:
            self.specs.append(str(job.spec))
        return super().evaluate(job, on_progress)


if __name__ == "__main__":
    wiring.LocalExecutor = Slowly  # type: ignore[assignment, misc]
    main()
