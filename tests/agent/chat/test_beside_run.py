"""A search and a chat, two real processes on one memory: what is typed in one is obeyed in the other, exactly once."""

import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from model_server import Answer, Call, ModelServer, Say, serve, tool_answers
from processes import ARGUMENTS, COMMAND, PLANTED, finish, start, wait_for

from diffusion.cost.closed_form import costs
from diffusion.space import built_in
from diffusion.spec import UNetSpec
from memory.connection import opened

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

ROOT = Path(__file__).parents[3]
SUPPORT = (str(ROOT), str(ROOT / "tests" / "support"))
TEXT = 'directive 1: "no attention at stage 0"'
ROUNDS = "300"  # more than are played before the pause
WISH = "Please, no attention at stage 0."
DIRECTIVE = {"instruction": {"kind": "freeze", "parameter": "attn_0", "value": 0}, "said": "no attention at stage 0"}


def twins() -> list[tuple[str, str]]:
    """Cheap specs with attention at stage 0, each with the same without it: enough for a search that is not to end."""
    rows = built_in("digits-8").rows()
    is_small = (rows[:, 0] == 8) & (rows[:, 1] <= 2) & (rows[:, 2] == 1) & (rows[:, 6] == 1)
    fits = costs(rows[is_small], "ddpm", 8, 1).macs("paper") <= 2_000_000
    found = [str(UNetSpec.from_row(row)) for row in rows[is_small][fits]]
    return [(text, text.replace("-a1", "-a0")) for text in found if text != "b8-n1-m1.1.1.1-a1000"]


class Model:
    """Proposes attention at stage 0, and the same without it when that is refused; in chat, gives one directive."""

    def __init__(self) -> None:
        self.left, self.pair, self.lock = twins(), ("", ""), threading.Lock()

    def __call__(self, messages: list[dict[str, Any]]) -> Answer:
        with self.lock:
            chats = messages[0]["content"].startswith("You are the assistant of a search")
            return self.chats(messages) if chats else self.proposes(messages)

    def chats(self, messages: list[dict[str, Any]]) -> Answer:
        return Say("As you say.") if tool_answers(messages) else Call("give_directive", DIRECTIVE)

    def proposes(self, messages: list[dict[str, Any]]) -> Answer:
        answers = tool_answers(messages)
        if not answers:
            self.pair = self.left.pop(0)
            return self.trains(self.pair[0])
        return self.trains(self.pair[1])

    def trains(self, spec: str) -> Call:
        return Call("train_ract", {"spec": spec, "reason": "It is next."})


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
