"""A compression that is killed in each of its stages, and at instants that nobody chose, gives the same students."""

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
TEACHER = ["train", "b8-n1-m1.2.2-a000", "--train-steps", "20", *SMALL, "--json"]
STUDENT = ["compress", "1", "--name", "small", "--supernet-steps", "60", "--candidates", "60", "--target", "0.6",
           "--train-steps", "200", "--seeds", "2", "--json"]  # fmt: skip
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


def students(folder: Path) -> list[tuple[Checkpoint, float | None]]:
    """The last state of each student's training, and its score."""
    found = []
    with opened(folder / "diffnas.db", read_only=True) as db:
        trials = [trial for (trial,) in db.conn.execute("SELECT id FROM trials ORDER BY round, id").fetchall()]
        assert len(trials) == 4  # with the teacher as it was trained, and as it is a teacher
        for trial in trials[2:]:
            checkpoint = newest_checkpoint(find_trial(db, trial).run_folder)
            (score,) = db.conn.execute("SELECT rfid FROM results WHERE trial = ?", [trial]).fetchone()
            assert checkpoint
            found.append((checkpoint, score))
        assert db.conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    return found


def check_the_same(folder: Path, other: Path) -> None:
    """Students of the same weights and scores."""
    for (one, score), (another, expected) in zip(students(folder), students(other), strict=True):
        assert same(one, another) and score == expected


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
    check_the_same(folder, alone)


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
        check_the_same(folder, alone)
        if kills < KILLS:  # it ended before it was killed so often: once more, from the beginning
            shutil.rmtree(folder)
            shutil.copytree(before, folder)
