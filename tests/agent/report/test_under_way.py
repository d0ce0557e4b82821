"""Whatever takes long is seen within five seconds, on a terminal and where there is none."""

import io
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from agent.report.progress import Lines
from agent.report.under_way import SOON_SECONDS, TICK_SECONDS, UnderWay, duration
from diffusion.data.images import prepare_images
from diffusion.under_way import Pace, each, told_to, under_way

STARTED = {"spec": "b8-n1-m1.1.1.1-a0000", "macs": {"paper": 490560}, "params": 31641, "reason": "A try."}
SCORING: dict[str, Any] = {"trial": 1, "seed": None, "total_images": 60_000, "eta_seconds": None}
FIRST_WORD_SECONDS = 5.0


class Clock:
    """Time as a test has it: the shown steps are looked at every half second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("agent.report.under_way.time.monotonic", lambda: self.now)
        monkeypatch.setattr("agent.report.progress.monotonic", lambda: self.now)
        monkeypatch.setattr("diffusion.under_way.time.monotonic", lambda: self.now)
        monkeypatch.setattr("agent.report.under_way.Thread.start", lambda _: None)  # the test ticks

    def passes(self, seconds: float, shown: UnderWay) -> None:
        for _ in range(int(seconds / TICK_SECONDS)):
            self.now += TICK_SECONDS
            shown.tick(self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def piped(several: bool = False) -> tuple[Lines, io.StringIO]:
    stream = io.StringIO()
    return Lines(Console(file=stream, width=200), several), stream


def on_a_terminal() -> Lines:
    return Lines(Console(file=io.StringIO(), force_terminal=True, width=120))


def said(stream: io.StringIO) -> list[str]:
    """What was said since the last look."""
    found = stream.getvalue().splitlines()
    stream.seek(0)
    stream.truncate()
    return [line.strip() for line in found]


def test_the_first_word_comes_within_five_seconds() -> None:
    assert SOON_SECONDS + TICK_SECONDS < FIRST_WORD_SECONDS


BEGINNINGS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a model thinks": ("round.started", {"round": 1}, "choosing what comes next"),
    "a teacher is copied": ("round.started", {"round": 0}, "getting ready"),
    "a job starts": ("trial.started", {"trial": 1, "cached": False, "proposer": "hand", **STARTED}, "training begins"),
    "a replica starts": ("replica.started", {"trial": 1, "seed": 7}, "seed 7, training begins"),
    "a rung is passed": ("trial.rung", {"trial": 1, "pruned": False, "why": "well"}, "training goes on"),
    "a step is slow": (
        "train.progress",
        {"trial": 1, "seed": None, "step": 1, "total_steps": 9, "loss": 1.0, "images_per_second": 2.0},
        "training, loss 1.0000, 2 images/s, 1/9",
    ),
    "a score starts": ("score.progress", {**SCORING, "phase": "starting", "images": 0}, "getting ready to score"),
    "network": ("score.progress", {**SCORING, "phase": "network", "images": 0}, "loading the feature network"),
    "reference": (
        "score.progress", {**SCORING, "phase": "reference", "images": 0}, "features of the real images, 0/60000"
    ),
    "sampling": ("score.progress", {**SCORING, "phase": "sampling", "images": 0}, "sampling, 0/60000"),
    "features": ("score.progress", {**SCORING, "phase": "features", "images": 0}, "features of the samples, 0/60000"),
    "distance": ("score.progress", {**SCORING, "phase": "distance", "images": 0}, "comparing the features"),
    "supernets": (
        "compress.progress",
        {"trial": 0, "seed": None, "phase": "supernets", "step": 0, "total_steps": 60, "error": None},
        "supernets, 0/60",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BEGINNINGS)
def test_what_begins_and_then_tells_nothing_is_seen(what: str, clock: Clock) -> None:
    event, values, label = BEGINNINGS[what]
    lines, stream = piped()
    lines(event, **values)
    said(stream)
    clock.passes(FIRST_WORD_SECONDS, lines)
    (line,) = said(stream)
    assert line.startswith(label)
    shown = on_a_terminal()
    shown(event, **values)
    clock.passes(FIRST_WORD_SECONDS, shown)
    assert shown.progress is not None
    (task,) = shown.progress.tasks
    counts = "" if task.total is None else f", {task.completed}/{task.total}"
    assert f"{task.description.strip()}{counts}" == label
    shown.close()


def test_lines_come_at_growing_distances_with_the_end_in_sight(clock: Clock) -> None:
    lines, stream = piped()
    for images in range(0, 60_001, 500):  # 40 images a second
        lines("score.progress", **{**SCORING, "phase": "reference", "images": images, "eta_seconds": None})
        clock.passes(12.5, lines)
    found = said(stream)
    assert [line.removeprefix("features of the real images, ") for line in found[:5]] == [
        "0/60000", "0/60000", "1000/60000, about 25 min left", "2000/60000, about 24 min left",
        "4500/60000, about 23 min left",
    ]  # fmt: skip
    assert 8 <= len(found) <= 12, "in 25 minutes"


def test_short_phases_in_a_row_are_one_silence(clock: Clock) -> None:
    lines, stream = piped()
    for phase in ("starting", "network", "reference", "sampling"):
        lines("score.progress", **{**SCORING, "phase": phase, "images": 0})
        clock.passes(1.5, lines)
    assert [line.split(",")[0] for line in said(stream)] == ["features of the real images"]


def test_what_takes_a_moment_is_not_told(clock: Clock) -> None:
    lines, stream = piped()
    lines("trial.started", trial=1, cached=False, proposer="hand", **STARTED)
    clock.passes(2, lines)
    lines("trial.trained", trial=1, step=100, loss=0.25, device_seconds=3.0)
    clock.passes(60, lines)
    assert [line.split()[0] for line in said(stream)] == ["trial", "A", "trained"]


def test_of_several_each_is_told(clock: Clock) -> None:
    lines, stream = piped(several=True)
    for trial in (1, 2):
        lines("score.progress", **{**SCORING, "trial": trial, "phase": "sampling", "images": 0})
    clock.passes(FIRST_WORD_SECONDS, lines)
    assert said(stream) == ["trial 1  sampling, 0/60000", "trial 2  sampling, 0/60000"]


def test_what_a_library_begins_is_shown_and_ends_with_it(clock: Clock) -> None:
    lines, stream = piped()
    with told_to(lines), under_way("reading photos"):
        clock.passes(FIRST_WORD_SECONDS, lines)
        assert said(stream) == ["reading photos, 4 s so far"]
        for _ in each("reading pictures", range(3), 3):
            clock.passes(FIRST_WORD_SECONDS, lines)
        assert said(stream) == ["reading pictures, 0/3", "reading pictures, 2/3, about 5 s left"]
        clock.passes(20, lines)
        assert [line.split(",")[0] for line in said(stream)] == ["reading photos"] * 2
    assert lines.steps == {}
    with under_way("nobody listens"):
        clock.passes(FIRST_WORD_SECONDS, lines)
    assert said(stream) == []


def test_a_step_that_fails_is_over_and_so_is_the_one_around_it() -> None:
    lines, _ = piped()

    def work() -> None:
        with told_to(lines), under_way("around"):
            for _ in each("within", range(3), 3):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert lines.told == [] and lines.steps == {}


def test_the_clock_runs_by_itself_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.report.under_way.SOON_SECONDS", 0.05)
    monkeypatch.setattr("agent.report.under_way.TICK_SECONDS", 0.02)
    lines, stream = piped()
    with told_to(lines), under_way("reading photos"):
        thread = lines.clock
        assert thread is not None
        until = time.monotonic() + 10
        while not stream.getvalue() and time.monotonic() < until:
            time.sleep(0.01)
    thread.join(10)
    assert said(stream)[0].startswith("reading photos, ") and not thread.is_alive() and lines.clock is None


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (89, "89 s"), (700, "12 min"), (12_600, "3.5 h")])
def test_durations_are_said_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_was_there_before_is_no_pace() -> None:
    pace = Pace()
    assert [pace.eta_seconds(40, 100, 5.0), pace.eta_seconds(50, 100, 8.0)] == [None, 15.0]


class Recorder:
    """Which steps a library began."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int | None]] = []

    def begin(self, what: str, total: int | None) -> object:
        self.begun.append((what, total))
        return None

    def advance(self, step: Any, done: int) -> None:
        """Not looked at."""

    def end(self, step: Any) -> None:
        """Nor this."""


def test_all_parts_of_preparing_data_are_told(tmp_path: Path) -> None:
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3)).astype(np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    np.savez(tmp_path / "images.npz", np.zeros((4, 16, 16), np.uint8))
    recorder, photos = Recorder(), str(tmp_path / "photos")
    with told_to(recorder):
        prepare_images(photos, tmp_path / "data", resolution=8)
        prepare_images(str(tmp_path / "images.npz"), tmp_path / "data", resolution=8)
    assert recorder.begun == [
        ("reading the data", None), ("looking at files", 3), ("reading pictures", 3), ("reading pictures", 0),
        ("preparing the data", None), ("looking for duplicates", 3),
        ("reading the data", None), ("preparing the data", None),
        ("resizing images", 4), ("looking for duplicates", 4),
    ]  # fmt: skip


SLOW = """
import sys, time
sys.path.insert(0, sys.argv.pop(1))
from planted import Planted
import agent.search.wiring as wiring
import diffusion.data.pictures as pictures
from agent.cli.main import main

read = pictures.read_picture
what, said = sys.argv.pop(1), []

def slow(here, seconds):
    if here == what:
        said or print("slowness begins", flush=True)
        said.append(here)
        time.sleep(seconds)

def slowly(*args):
    slow("data", 0.25)
    return read(*args)

class Slowly(Planted):
    def __init__(self, stop):
        super().__init__((50.0,) * 9)

    def train(self, job, on_progress):
        slow("training", 8)
        return super().train(job, on_progress)

    def evaluate(self, job, on_progress):
        slow("score", 8)
        return super().evaluate(job, on_progress)

pictures.read_picture = slowly
wiring.LocalExecutor = Slowly
main()
"""


def heard(descriptor: int, seconds: float) -> Iterator[tuple[float, str]]:
    """What comes out, and when."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and select.select([descriptor], [], [], left)[0]:
        try:
            data = os.read(descriptor, 4096)
        except OSError:  # the end of a pseudo-terminal
            return
        if not data:
            return
        yield time.monotonic(), data.decode(errors="replace")


@pytest.mark.slow
@pytest.mark.parametrize("is_terminal", [False, True], ids=["piped", "terminal"])
@pytest.mark.parametrize(
    ("what", "word"),
    [("data", "reading pictures"), ("training", "training begins"), ("score", "getting ready to score")],
)
def test_planted_slowness_is_seen_by_a_real_process(what: str, word: str, is_terminal: bool, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(32):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    ours, theirs = pty.openpty() if is_terminal else os.pipe()
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [
            sys.executable, "-c", SLOW, str(root / "tests" / "support"), what, "run", "--preset", "digits", "--dataset",
            "photos", "--rounds", "0", "--batch-size", "8", "--num-images", "16", "--baseline", "b8-n1-m1.1.1.1-a0000",
            "--budget", "2M", "--set", "replicas=1", "--set", "race_trainings=0",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "TERM": "xterm", "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    text, first = "", {}
    for when, part in heard(ours, 120):
        text += part
        for awaited in ("slowness begins", word):
            if awaited in text:
                first.setdefault(awaited, when)
    os.close(ours)
    assert process.wait() == 0, text
    assert first[word] - first["slowness begins"] < FIRST_WORD_SECONDS + 1, "on a busy machine"
