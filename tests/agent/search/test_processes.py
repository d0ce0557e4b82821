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


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_ctrl_c_saves_and_says_how_to_go_on_and_a_killed_search_is_resumed_exactly_once(
    rounds: int, tmp_path: Path
) -> None:
    process = start(tmp_path, "run", "--json", "--name", "first", *ARGUMENTS, "--rounds", str(rounds))
    wait_for(process, "train.progress", step=100)
    process.send_signal(signal.SIGINT)
    seen, said = finish(process)
    assert process.returncode == 130
    assert said.rstrip().splitlines()[-1] == "interrupted; go on with: diffnas-agent resume first"
    assert seen[-1]["reason"] == "interrupted"
    with opened(tmp_path / "diffnas.db", read_only=True) as db:
        assert search_status(db, "first").state == "interrupted"

    process = start(tmp_path, "resume", "--json")
    first = wait_for(process, "train.progress")
    assert 100 < first["step"] <= 100 + 120  # it went on from where it was saved
    process.kill()
    finish(process)
    deadline = time.monotonic() + 30
    while alive_in(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert alive_in(tmp_path) == [], "the trainer, or what it was forked from, outlived its search"

    process = start(tmp_path, "resume", "--json")
    seen, _ = finish(process)
    assert process.returncode == 0
    assert [event["trial"] for event in seen if event["event"] == "trial.scored"] == [*range(1, rounds + 2)]
    found = trainings(tmp_path)
    assert [(row["state"], row["steps_done"]) for row in found] == [("done", STEPS)] * (rounds + 1)


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
