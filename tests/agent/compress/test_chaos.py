"""A compression that is killed in each of its stages, and at instants that nobody chose, gives the same student."""

import random
import shutil
import time
from pathlib import Path

import pytest
from processes import finish, start, wait_for
from trainings import same

from diffusion.training.checkpoint import Checkpoint, newest_checkpoint
from memory.connection import opened
from memory.trials import find_trial

SMALL = ["--set", "batch_size=16", "--num-images", "32", "--sampling-steps", "2", "--set", "checkpoint_steps=20"]
TEACHER = ["train", "b8-n1-m1.2.2-a000", "--train-steps", "20", *SMALL]
STUDENT = ["compress", "1", "--name", "small", "--supernet-steps", "60", "--candidates", "60", "--target", "0.6",
           "--train-steps", "300", "--json"]  # fmt: skip
STAGES = {  # an event of each
    "supernets": ("compress.progress", {"step": 5, "total_steps": 60}),
    "judging": ("compress.progress", {"phase": "judging", "step": 2}),
    "retraining": ("train.progress", {"step": 40}),
    "scoring": ("score.progress", {"images": 1}),
}
KILLS = 10


def prepared(folder: Path) -> Path:
    """A folder with a trained teacher."""
    folder.mkdir()
    finish(start(folder, *TEACHER))
    return folder


def student(folder: Path) -> tuple[Checkpoint, float | None]:
    """The last state of the student's training, and its score."""
    with opened(folder / "diffnas.db", read_only=True) as db:
        (trial,) = db.conn.execute("SELECT max(id) FROM trials").fetchone()
        checkpoint = newest_checkpoint(find_trial(db, trial).run_folder)
        (score,) = db.conn.execute("SELECT rfid FROM results WHERE trial = ?", [trial]).fetchone()
        assert db.conn.execute("SELECT count(*) FROM trials").fetchone()[0] == 3
        assert db.conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert checkpoint
    return checkpoint, score


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compression that nobody disturbed."""
    folder = prepared(tmp_path_factory.mktemp("compressions") / "alone")
    finish(start(folder, *STUDENT))
    return folder


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_it_is_killed_in_every_stage_and_ends_the_same(alone: Path, tmp_path: Path) -> None:
    folder = prepared(tmp_path / "harassed")
    process = start(folder, *STUDENT)
    for event, values in STAGES.values():
        wait_for(process, event, **values)
        process.kill()
        finish(process)
        process = start(folder, "resume", "small", "--json")
    finish(process)
    (one, score), (other, expected) = student(folder), student(alone)
    assert same(one, other) and score == expected


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_it_is_killed_at_random_instants_and_ends_the_same(alone: Path, tmp_path: Path) -> None:
    folder = prepared(tmp_path / "harassed")
    before = shutil.copytree(folder, tmp_path / "before")
    rng, kills = random.Random(20261128), 0
    while kills < KILLS:
        process = start(folder, *STUDENT)
        while kills < KILLS:
            time.sleep(rng.uniform(2, 8))
            if process.poll() is not None:
                break
            process.kill()
            kills += 1
            finish(process)
            with opened(folder / "diffnas.db", read_only=True) as db:
                begun = db.conn.execute("SELECT count(*) FROM searches WHERE name = 'small'").fetchone()[0]
            process = start(folder, *(["resume", "small", "--json"] if begun else STUDENT))
        finish(process)
        (one, score), (other, expected) = student(folder), student(alone)
        assert same(one, other) and score == expected
        if kills < KILLS:  # it ended before it was killed so often: once more, from the beginning
            shutil.rmtree(folder)
            shutil.copytree(before, folder)
