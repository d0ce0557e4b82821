"""A search and a chat, two real processes on one memory: what is typed in one is obeyed in the other, exactly once."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from model_server import ModelServer, serve
from processes import ARGUMENTS, COMMAND, PLANTED, finish, start, wait_for
from wishing import Model

from memory.connection import opened

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

ROOT = Path(__file__).parents[3]
SUPPORT = (str(ROOT), str(ROOT / "tests" / "support"))
TEXT = 'directive 1: "no attention at stage 0"'
ROUNDS = "300"  # more than are played before the pause
WISH = "Please, no attention at stage 0."


def chat(folder: Path, server: ModelServer, *lines: str) -> str:
    """What a chat in a process of its own says to these lines."""
    command = [*COMMAND, "chat", "first", "--llm", "openai:scripted", "--base-url", server.url]
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    with opened(folder / "diffnas.db", read_only=True) as db:
        return [tuple(row) for row in db.conn.execute(statement)]


@pytest.mark.parametrize("command", [PLANTED, COMMAND], ids=["planted scores", "real trainings"])
def test_directives_undo_pause_kill_and_resume_reach_the_other_process_exactly_once(
    tmp_path: Path, command: list[str]
) -> None:
    environment = {"PYTHONPATH": os.pathsep.join([*SUPPORT, os.environ.get("PYTHONPATH", "")])}
    with serve(Model()) as server:
        model = ["--llm", "openai:scripted", "--base-url", server.url, "--train-steps", "2", "--set", "replicas=1"]
        model += ["--set", "race_trainings=0", "--parallel", "1"]
        process = start(
            tmp_path,
            "run",
            "--json",
            "--name",
            "first",
            *ARGUMENTS,
            *model,
            "--rounds",
            ROUNDS,
            command=command,
            **environment,
        )
        assert "-a1" in wait_for(process, "trial.scored", trial=2)["spec"]

        said = chat(tmp_path, server, WISH, "y")
        assert "Directive: attn_0 stays 0." in said
        assert "Directive 1 is given; it is obeyed from the next round on." in said
        added = wait_for(process, "directive.added")
        assert (added["directive"], added["text"]) == (1, "no attention at stage 0")
        refused = wait_for(process, "trial.refused")
        assert TEXT in refused["reason"]
        assert "-a0" in wait_for(process, "trial.started")["spec"]
        wait_for(process, "round.finished")
        assert any(number == 1 for (number,) in rows(tmp_path, "SELECT directive FROM citations"))
        obeyed_since = rows(tmp_path, "SELECT seen_round FROM directives WHERE id = 1")[0][0]
        assert obeyed_since == added["round"]

        assert f"Taken back: {TEXT}." in chat(tmp_path, server, "/undo")
        removed = wait_for(process, "directive.removed")
        assert removed["directive"] == 1
        assert "-a1" in wait_for(process, "trial.started")["spec"]

        chat(tmp_path, server, "/pause")
        wait_for(process, "directive.obeyed")
        status = subprocess.run(
            [*COMMAND, "status", "--json"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert json.loads(status.stdout)["state"] == "paused"
        process.kill()
        finish(process)
        played = rows(tmp_path, "SELECT count(*) FROM trials")[0][0]

        process = start(tmp_path, "resume", "first", "--json", "--rounds", str(played), command=command, **environment)
        seen, told = finish(process)
        assert process.returncode == 0, told
        assert "Lifted: directive 2" in told
        assert [event["reason"] for event in seen if event["event"] == "search.finished"] == ["rounds"]

    texts = [text for (text,) in rows(tmp_path, "SELECT text FROM messages WHERE role = 'user' ORDER BY id")]
    assert texts == [WISH, "/undo", "/pause"]
    assert rows(tmp_path, "SELECT id, kind, state FROM directives") == [(1, "freeze", "undone"), (2, "pause", "undone")]
    rounds = [number for (number,) in rows(tmp_path, "SELECT round FROM trials ORDER BY round")]
    assert rounds == list(range(played + 1))
    assert {state for (state,) in rows(tmp_path, "SELECT state FROM trials")} == {"scored"}
    assert rows(tmp_path, "SELECT count(*) - count(DISTINCT key) FROM trainings") == [(0,)]


def test_a_chat_that_is_killed_at_its_question_gives_nothing_and_loses_no_message(tmp_path: Path) -> None:
    with serve(Model()) as server:
        arguments = ["--train-steps", "2", "--set", "replicas=1", "--set", "race_trainings=0", "--rounds", "0"]
        process = start(tmp_path, "run", "--json", "--name", "first", *ARGUMENTS, *arguments)
        finish(process)
        command = [*COMMAND, "chat", "first", "--llm", "openai:scripted", "--base-url", server.url]
        talking = subprocess.Popen(
            command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert talking.stdin
        talking.stdin.write(f"{WISH}\n")
        talking.stdin.flush()
        deadline = time.monotonic() + 120
        while not server.requests and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        talking.kill()
        talking.communicate()
        assert rows(tmp_path, "SELECT * FROM directives") == []
        assert rows(tmp_path, "SELECT text FROM messages") == [(WISH,)]
        assert f'Your last message has no answer: "{WISH}"' in chat(tmp_path, server)
