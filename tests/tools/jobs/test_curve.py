"""The loss curve on its way into the memory: whole after any kill, each point once, seldom written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inprocess import InProcessExecutor
from searches import TinySearch

from diffusion.settings import TrainJob
from diffusion.spec import UNetSpec
from memory.connection import opened
from memory.trainings import add_to_curve, loss_curve
from tools.errors import Interrupted
from tools.jobs import curve as curve_module
from tools.jobs.training import train_candidate

SPEC = UNetSpec.parse("b8-n1-m1.1.1.2-a0000")
POINTS = [[step, 1 / step] for step in range(1, 9)]
OnProgress = Callable[[dict[str, Any]], None]


class Scripted(InProcessExecutor):
    """Says these lines, and is then stopped or done."""

    def __init__(self, lines: list[dict[str, Any]], *, ends: bool = True) -> None:
        super().__init__()
        self.lines, self.ends = lines, ends

    def train(self, job: TrainJob, on_progress: OnProgress) -> dict[str, Any]:
        for line in self.lines:
            on_progress(line)
        if not self.ends:
            raise Interrupted
        return {"event": "done", "step": job.last_step, "loss": 0.5, "device_seconds": 1.0}


def curve_in(search: TinySearch, training: int = 1) -> list[list[float]]:
    with opened(search.db, read_only=True) as db:
        return [list(point) for point in loss_curve(db, training)]


def said(*points: list[float]) -> dict[str, Any]:
    return {"event": "curve", "points": list(points)}


def test_a_training_leaves_its_curve_and_no_event_tells_it(tmp_path: Path) -> None:
    search = TinySearch(tmp_path, {"train_steps": 45}, executor=InProcessExecutor())
    train_candidate(search.context(), SPEC, "why not")
    assert [step for step, _ in curve_in(search)] == [20, 40, 45]
    assert {event["event"] for event in search.events} == {"trial.started", "train.progress", "trial.trained"}


def test_what_was_heard_before_an_interruption_is_kept_and_said_again_is_kept_once(tmp_path: Path) -> None:
    search = TinySearch(tmp_path, executor=Scripted([said(*POINTS[:3])], ends=False))
    with pytest.raises(Interrupted):
        train_candidate(search.context(), SPEC, "why not")
    assert curve_in(search) == POINTS[:3]
    search.executor.lines, search.executor.ends = [said(*POINTS[:5]), *map(said, POINTS[5:])], True
    train_candidate(search.context(), SPEC, "why not")
    assert curve_in(search) == POINTS


def test_points_are_written_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def counted(db: Any, training: int, points: list[Any]) -> None:
        written.append(len(points))
        add_to_curve(db, training, points)

    monkeypatch.setattr(curve_module, "add_to_curve", counted)
    search = TinySearch(tmp_path, executor=Scripted([said(point) for point in POINTS]))
    train_candidate(search.context(), SPEC, "why not")
    assert written == [8] and curve_in(search) == POINTS


def test_a_loss_that_is_no_number_is_no_point(tmp_path: Path) -> None:
    search = TinySearch(tmp_path, executor=Scripted([said([1, 0.5], [2, float("nan")])]))
    train_candidate(search.context(), SPEC, "why not")
    assert curve_in(search) == [[1, 0.5]]
