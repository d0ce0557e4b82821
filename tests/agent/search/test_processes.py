"""A search as real processes: interrupted, killed, resumed; nothing finished is lost and nothing is trained twice."""

import json
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from model_server import Call, Status, serve
from processes import ARGUMENTS, COMMAND, PLANTED, STEPS, finish, start, wait_for

from agent.report.status import search_status
from memory.connection import opened

SECRET = "sk-planted-0123456789abcdef"  # a key that no provider ever gave out


def trainings(folder: Path) -> list[dict[str, Any]]:
    with opened(folder / "diffnas.db", read_only=True) as db:
        return [dict(row) for row in db.conn.execute("SELECT * FROM trainings ORDER BY id")]


def alive_in(folder: Path) -> list[str]:
    """What runs in a folder: searches, servers and jobs alike stay where they were started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if path.readlink() == folder:
                found.append(path.parent.name)
    return found


def interrupted(folder: Path, *options: str, step: int = 100) -> None:
    """A search that Ctrl-C stopped after some steps of its first training."""
    process = start(folder, "run", "--json", "--name", "first", *ARGUMENTS, *options)
    wait_for(process, "train.progress", step=step)
    process.send_signal(signal.SIGINT)
    seen, said = finish(process)
    assert process.returncode == 130
    assert said.rstrip().splitlines()[-1] == "interrupted; go on with: diffnas-agent resume first"
    assert seen[-1]["reason"] == "interrupted"
    with opened(folder / "diffnas.db", read_only=True) as db:
        assert search_status(db, "first").state == "interrupted"


def resumed(folder: Path, steps: int = STEPS) -> list[dict[str, Any]]:
    """The events of a search that is gone on with to its end."""
    process = start(folder, "resume", "--json")
    seen, _ = finish(process)
    assert process.returncode == 0
    found = trainings(folder)
    assert {(row["state"], row["steps_done"]) for row in found} == {("done", steps)}
    scored = [event["trial"] for event in seen if event["event"] == "trial.scored"]
    assert scored == list(range(1, len(found) + 1))
    return seen


@pytest.mark.timeout(900)
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    interrupted(tmp_path, "--rounds", "0", "--train-steps", "200", step=60)
    progress = [event["step"] for event in resumed(tmp_path, steps=200) if event["event"] == "train.progress"]
    assert 60 < progress[0] <= 60 + 120  # it went on from where it was saved


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_that_was_interrupted_and_then_killed_is_resumed_exactly_once(tmp_path: Path) -> None:
    interrupted(tmp_path)
    process = start(tmp_path, "resume", "--json")
    first = wait_for(process, "train.progress")
    assert 100 < first["step"] <= 100 + 120  # it went on from where it was saved
    process.kill()
    finish(process)
    deadline = time.monotonic() + 30
    while alive_in(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert alive_in(tmp_path) == [], "the trainer, or what it was forked from, outlived its search"
    resumed(tmp_path)
    assert len(trainings(tmp_path)) == 2


@pytest.mark.slow  # tests/memory/test_leases.py has the sentence and another process
def test_a_second_process_cannot_drive_a_search_that_runs(tmp_path: Path) -> None:
    process = start(tmp_path, "run", "--json", "--name", "first", *ARGUMENTS, "--rounds", "200", command=PLANTED)
    wait_for(process, "trial.started")
    second = subprocess.run([*COMMAND, "resume", "first"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert second.stderr.startswith("'first' is being driven by process")
    process.kill()
    finish(process)


@pytest.mark.parametrize(
    "command", [PLANTED, pytest.param(COMMAND, marks=pytest.mark.slow)], ids=["planted scores", "real trainings"]
)
def test_a_planted_key_is_in_nothing_that_a_run_wrote_printed_or_handed_on(command: list[str], tmp_path: Path) -> None:
    def brain(messages: list[dict[str, Any]]) -> Call:
        return Call("train_ract", {"spec": "b8-n1-m1.1.1.2-a0000", "reason": f"The key is {SECRET}."})

    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={SECRET}\n")
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / ".env").rename(work / ".env")
    with serve(brain) as server:
        arguments = [*ARGUMENTS, "--train-steps", "2", "--llm", "openai:scripted", "--base-url", server.url]
        process = start(work, "run", "--json", *arguments, command=command)
        seen, said = finish(process)
    assert process.returncode == 0, said
    assert server.headers[0]["authorization"] == f"Bearer {SECRET}"  # the key was used,
    assert SECRET not in said + json.dumps(seen)  # and is nowhere else
    written = [path for path in work.rglob("*") if path.is_file() and path.name != ".env"]
    assert any(path.suffix == ".db" for path in written)
    for path in written:
        assert SECRET.encode() not in path.read_bytes(), path
    with closing(sqlite_dump(work / "diffnas.db")) as text:
        assert "The key is [redacted]." in text.read()


def sqlite_dump(path: Path) -> Any:
    """The whole memory as text: what lies in the write-ahead log counts, too."""
    import io

    with opened(path, read_only=True) as db:
        connection: sqlite3.Connection = db.conn
        return io.StringIO("\n".join(connection.iterdump()))


@pytest.mark.slow  # tests/memory/test_redaction.py has the sentences, and the test before this one a whole search
def test_a_server_that_sends_the_key_back_in_its_refusal_does_not_get_it_printed(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={SECRET}\n")
    with serve(lambda messages: Status(401, f"Incorrect API key provided: {SECRET}")) as server:
        arguments = [*ARGUMENTS, "--train-steps", "2", "--llm", "openai:scripted", "--base-url", server.url]
        process = start(tmp_path, "run", "--json", "--name", "first", *arguments, command=PLANTED)
        seen, said = finish(process)
    assert process.returncode == 2
    assert SECRET not in said + json.dumps(seen)
    last = said.rstrip().splitlines()[-1]
    assert last.startswith("'openai:scripted' refuses every call (")
    assert "401" in last
    assert last.endswith("`diffnas-agent resume first`")
    assert [event["event"] for event in seen if event["event"].startswith("trial.s")] == [
        "trial.started",
        "trial.scored",
    ]
