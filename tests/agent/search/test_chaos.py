"""A search that is killed again and again, at instants that nobody chose, ends as one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from processes import ARGUMENTS, finish, start
from trainings import children, command_line, same

from diffusion.training.checkpoint import Checkpoint, newest_checkpoint
from memory.connection import opened

KILLS = 20
LONG = ["--train-steps", "5000", "--set", "dropout=0.2"]  # not over before it was killed so often


def weights(folder: Path) -> dict[str, Checkpoint]:
    """The last checkpoint of each training, by its spec."""
    found = [newest_checkpoint(path) for path in (folder / "runs" / "trainings").iterdir()]
    return {str(checkpoint.job.spec): checkpoint for checkpoint in found if checkpoint is not None}


def outcome(folder: Path) -> list[tuple[Any, ...]]:
    with opened(folder / "diffnas.db", read_only=True) as db:
        rows = db.conn.execute("SELECT round, spec, state, rfid FROM results ORDER BY round")
        return [tuple(row) for row in rows]


def kill_servers(process: "subprocess.Popen[str]", killed: list[int]) -> None:
    """Kill what the jobs of a search are forked from, each at some instant; the next job gets another one."""
    rng = random.Random(20261128)
    while process.poll() is None:
        time.sleep(rng.uniform(0.5, 5))
        for pid in children(process.pid):
            if b"fork_server" in command_line(pid):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux alone")
def test_a_search_whose_servers_are_killed_at_random_instants_ends_as_one_whose_were_not(tmp_path: Path) -> None:
    left_alone, harassed = tmp_path / "alone", tmp_path / "harassed"
    killed: list[int] = []
    for folder in (left_alone, harassed):
        folder.mkdir()
        process = start(folder, "run", "--json", "--name", "first", *ARGUMENTS, "--train-steps", "1000", *LONG[2:])
        killer = Thread(target=kill_servers, args=(process, killed))
        if folder == harassed:
            killer.start()
        finish(process)
    killer.join()
    assert len(killed) >= 2, "it ended before its servers were killed often enough; train longer"
    assert outcome(harassed) == outcome(left_alone)
    one, other = weights(harassed), weights(left_alone)
    assert one.keys() == other.keys() and len(one) == 2
    assert all(same(one[spec], other[spec]) for spec in one)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_search_killed_at_random_instants_ends_as_one_that_was_not(tmp_path: Path) -> None:
    left_alone, harassed = tmp_path / "alone", tmp_path / "harassed"
    for folder in (left_alone, harassed):
        folder.mkdir()
    arguments = [*ARGUMENTS, *LONG]
    whole = start(left_alone, "run", "--json", "--name", "first", *arguments)
    finish(whole)
    rng = random.Random(20261121)
    process = start(harassed, "run", "--json", "--name", "first", *arguments)
    for _ in range(KILLS):
        assert process.poll() is None, "it ended before it was killed often enough; train longer"
        time.sleep(rng.uniform(3, 15))
        process.kill()
        finish(process)
        command = ["resume"] if (harassed / "diffnas.db").exists() else ["run", "--name", "first", *arguments]
        process = start(harassed, *command, "--json")
    finish(process)
    assert outcome(harassed) == outcome(left_alone)
    one, other = weights(harassed), weights(left_alone)
    assert one.keys() == other.keys() and len(one) == 2
    assert all(same(one[spec], other[spec]) for spec in one)
    with opened(harassed / "diffnas.db", read_only=True) as db:
        assert db.conn.execute("SELECT count(*) FROM trainings").fetchone()[0] == 2
        assert db.conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
