"""What people read while a search runs: plain lines when piped, a bar for each trial on a terminal."""

import io
from pathlib import Path

import pytest
from ended_search import ended_search
from rich.console import Console

from agent.report.progress import Lines
from agent.search.summary import summary
from memory.connection import opened
from memory.searches import set_state

STARTED = {"spec": "b8-n1-m1.1.1.1-a0000", "macs": {"paper": 490560}, "params": 31641, "proposer": "offline"}
UNMEASURED = {"baseline": "unmeasured", "incumbent": "unmeasured"}


def told(lines: Lines, *trials: int) -> None:
    """Each trial starts; then all of them train to the half, to the end, and are scored, turn by turn."""
    for trial in trials:
        lines("trial.started", trial=trial, reason="A try.", **STARTED)
    for step in (50, 100):
        for trial in trials:
            lines("train.progress", trial=trial, step=step, total_steps=100, loss=0.5, images_per_second=9.0)
    for trial in trials:
        lines("trial.trained", trial=trial, step=100, loss=0.25, device_seconds=3.0)
        lines("trial.scored", trial=trial, metric="fid-digits-cnn", rfid=8.5, ci95=None, verdict=UNMEASURED)


def test_a_measured_noise_gives_each_score_its_interval_and_its_verdict() -> None:
    stream = io.StringIO()
    lines = Lines(Console(file=stream, width=200))
    verdict = {"baseline": "better", "incumbent": "inconclusive"}
    lines("trial.scored", trial=1, metric="fid", rfid=8.5, ci95=[8.1, 8.93], verdict=verdict)
    assert "scored fid 8.5 (8.1 to 8.93), better than the baseline" in stream.getvalue()


def piped(several: bool, *trials: int) -> list[str]:
    stream = io.StringIO()
    told(Lines(Console(file=stream, width=200), several), *trials)
    return [line for line in stream.getvalue().splitlines() if "train" in line or "scored" in line]


def test_one_trial_at_a_time_needs_no_name() -> None:
    assert piped(False, 1) == [
        "  training, loss 0.5000, 9 images/s, 50/100",
        "  training, loss 0.5000, 9 images/s, 100/100",
        "  trained 100 steps in 3 s, loss 0.2500",
        "  scored fid-digits-cnn 8.5",
    ]


def test_of_several_each_line_says_whose_it_is() -> None:
    found = piped(True, 2, 3)
    assert found[:4] == [
        "  trial 2  training, loss 0.5000, 9 images/s, 50/100",
        "  trial 3  training, loss 0.5000, 9 images/s, 50/100",
        "  trial 2  training, loss 0.5000, 9 images/s, 100/100",
        "  trial 3  training, loss 0.5000, 9 images/s, 100/100",
    ]
    assert found[4:6] == ["  trial 2  trained 100 steps in 3 s, loss 0.2500", "  trial 2  scored fid-digits-cnn 8.5"]


def test_a_terminal_has_a_bar_for_each_trial_until_it_ends() -> None:
    lines = Lines(Console(file=io.StringIO(), force_terminal=True, width=120), several=True)
    for trial in (2, 3):
        lines("train.progress", trial=trial, step=50, total_steps=100, loss=0.5, images_per_second=9.0)
    assert lines.progress is not None
    assert [task.description.split(",")[0] for task in lines.progress.tasks] == [
        "  trial 2  training", "  trial 3  training",
    ]  # fmt: skip
    lines("trial.failed", trial=2, reason="the loss is nan")
    assert [task.completed for task in lines.progress.tasks] == [50]
    lines("trial.trained", trial=3, step=100, loss=None, device_seconds=3.0)
    assert lines.progress is None
    lines("train.progress", trial=4, step=50, total_steps=100, loss=0.5, images_per_second=9.0)
    lines.close()
    assert (lines.progress, lines.bars, lines.steps) == (None, {}, {})


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("finished_by_model: nothing helps", "Ended early: the model ended it: nothing helps."),
        ("stopped_by_user", "Ended early: the user ended it."),
        ("rounds", None),
    ],
)
def test_the_summary_says_who_ended_a_search_before_its_rounds(reason: str, line: str | None, tmp_path: Path) -> None:
    db, stream = ended_search(tmp_path), io.StringIO()
    with opened(db) as found:
        set_state(found, 1, "finished", reason)
    summary(Console(file=stream, width=200), db, 1)
    assert [text for text in stream.getvalue().splitlines() if "Ended early" in text] == ([line] if line else [])
