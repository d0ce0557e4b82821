"""A search that an earlier version began goes on: its memory, its settings, its job and its checkpoint are read.

``frozen/interrupted-before-rooms.zip`` was made at commit 9d6a065, whose settings were flat and whose jobs had fields
of their own: ``run`` with one round of 60 steps, killed (``kill -9``) after the checkpoint at step 50 of the baseline;
the folder's path was replaced by ``/before`` then.
"""

import json
import sqlite3
import sys
import zipfile
from pathlib import Path
from threading import Event
from typing import Any

import inprocess
import pytest

from agent.cli.main import main

FROZEN = Path(__file__).with_name("frozen") / "interrupted-before-rooms.zip"
KILLED_AT = 50  # steps of the baseline


class Inside(inprocess.InProcessExecutor):
    """Jobs in this process."""

    def __init__(self, stop: Event, *_: Any) -> None:
        super().__init__()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The memory and the run folder, as if they had been made here."""
    with zipfile.ZipFile(FROZEN) as file:
        file.extractall(tmp_path)
    with sqlite3.connect(tmp_path / "diffnas.db") as db:
        db.execute("UPDATE searches SET config_json = replace(config_json, '/before', ?)", [str(tmp_path)])
        db.execute("UPDATE trainings SET run_folder = replace(run_folder, '/before', ?)", [str(tmp_path)])
    for job in (tmp_path / "runs" / "trainings").glob("*/job.json"):
        job.write_text(job.read_text().replace("/before", str(tmp_path)))
    return tmp_path


def test_a_search_that_was_killed_before_the_rooms_is_resumed_from_its_checkpoint(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("agent.search.wiring.LocalExecutor", Inside)
    monkeypatch.setattr(sys, "argv", ["diffnas-agent", "resume", "before", "--db", str(place / "diffnas.db"), "--json"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    steps = [event["step"] for event in events if event["event"] == "train.progress" and event["trial"] == 1]
    assert min(steps) > KILLED_AT
    assert max(steps) == 60
    assert [event["trial"] for event in events if event["event"] == "trial.scored"] == [1, 2]
    assert events[-1]["event"] == "search.finished"
    assert (events[-1]["reason"], events[-1]["trials"]) == ("rounds", 2)
