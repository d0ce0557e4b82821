"""A tracker gets what the progress lines say, also over a stop, and nothing is written where none was asked for."""

import io
import json
from pathlib import Path

import pytest
from trainings import prepared_job

from diffusion.training.child import Lines
from diffusion.training.job import train

STEPS = 6


class Until:
    """Asks for a stop after so many questions."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    @property
    def asked(self) -> bool:
        self.left -= 1
        return self.left < 0


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What tensorboard reads back, by name."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    found = EventMultiplexer().AddRunsFromDirectory(str(folder))
    found.Reload()
    values: dict[str, list[tuple[int, float]]] = {}
    for run, tags in found.Runs().items():
        for tag in tags["scalars"]:
            values.setdefault(tag, []).extend((event.step, event.value) for event in found.Scalars(run, tag))
    return {tag: sorted(points) for tag, points in values.items()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's own imports
def test_tensorboard_gets_every_report_once_also_over_a_stop(tmp_path: Path) -> None:
    job = prepared_job(tmp_path, train_steps=STEPS, log_steps=1, log_with="tensorboard")
    stream = io.StringIO()
    assert not train(job.model_dump_json(), Lines(stream), Until(2))  # type: ignore[arg-type]
    assert train(job.model_dump_json(), Lines(stream), Until(100))  # type: ignore[arg-type]
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    progress = {line["step"]: line for line in told if line["event"] == "progress"}
    found = scalars(job.run_folder / "logs")
    assert [step for step, _ in found["loss"]] == list(range(1, STEPS + 1)) == sorted(progress)
    assert found["images_per_second"][0][1] == pytest.approx(progress[1]["images_per_second"], rel=1e-5)
    assert {"loss", "images_per_second", "flops_per_second", "eta_seconds"} <= found.keys()


def test_without_a_tracker_there_is_no_folder_for_one(tmp_path: Path) -> None:
    job = prepared_job(tmp_path, train_steps=1)
    train(job.model_dump_json(), Lines(None), Until(100))  # type: ignore[arg-type]
    assert not (job.run_folder / "logs").exists()
